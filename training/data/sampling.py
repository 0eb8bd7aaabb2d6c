"""Which windows an epoch is made of.

Legend of axes: N windows of an epoch, B windows of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eventveil.training.data.windows import Windows

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Draw:
    """Windows to be cut.

    Attributes:
        start: (N,) first row.
        trial: (N,) the trial that most of the window is of.
    """

    start: Integers
    trial: Integers

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, part: slice | Integers) -> Draw:
        return Draw(self.start[part], self.trial[part])


def at_random(windows: Windows, per_trial: int, straddle: float, generator: np.random.Generator) -> Draw:
    """Draw windows for training: `per_trial` of each trial, at offsets of their own.

    Args:
        windows: what is drawn from.
        per_trial: windows of a trial.
        straddle: share of the windows that may lie across the ends of their trial, at least half in it as far as the
            trial is long enough, with the trials before and behind it in the same session filling the rest. A live
            line cannot know where a gesture begins.
        generator: of this epoch.
    """
    length = windows.shape.per_window
    trial = np.repeat(np.arange(len(windows.trials)), per_trial)
    first, end = windows.first_row[trial], windows.first_row[trial + 1]
    where, across = generator.random(len(trial)), generator.random(len(trial)) < straddle
    chain = windows.chain[trial]
    low = np.where(across, np.maximum(first - length // 2, chain[:, 0]), first)
    high = np.where(across, np.minimum(end - (length + 1) // 2, chain[:, 1] - length), end - length)
    start = (low + np.floor(where * (high - low + 1))).astype(np.int64)
    return Draw(start, np.where(across, _mostly(windows, start), trial))


def in_order(windows: Windows, hop: int) -> Draw:
    """Return the windows that a line would cut from each trial, from its first event on, `hop` rows apart."""
    length = windows.shape.per_window
    starts = [
        np.arange(first, end - length + 1, hop)
        for first, end in zip(windows.first_row[:-1], windows.first_row[1:], strict=True)
    ]
    trial = np.repeat(np.arange(len(starts)), [len(start) for start in starts])
    return Draw(np.concatenate(starts).astype(np.int64), trial)


def in_batches(
    draw: Draw, person: Integers, batch: int, people_per_batch: int | None, generator: np.random.Generator
) -> list[Draw]:
    """Shuffle windows and part them into whole batches; what is left over is left out of this epoch.

    Args:
        draw: the windows of the epoch.
        person: (N,) whose each is.
        batch: windows of a batch.
        people_per_batch: give each batch so many equal groups of windows, each of one person, so that a triplet loss
            finds others of the same; None mixes all.
        generator: of this epoch.
    """
    order = generator.permutation(len(draw))
    if people_per_batch is not None:
        size = batch // people_per_batch
        by_person = [order[person[order] == name] for name in np.unique(person)]
        groups = [own[at : at + size] for own in by_person for at in range(0, len(own) - size + 1, size)]
        shuffled: list[Any] = [groups[k] for k in generator.permutation(len(groups))]
        order = np.concatenate(shuffled) if shuffled else order[:0]
    return [draw[order[at : at + batch]] for at in range(0, len(order) - batch + 1, batch)]


def _mostly(windows: Windows, start: Integers) -> Integers:
    """The trial that most rows of each window are of; the earlier one of two equals."""
    rows = start[:, None] + np.arange(windows.shape.per_window)
    trial = np.searchsorted(windows.first_row, rows, side="right") - 1
    return np.array([np.bincount(own - own[0]).argmax() + own[0] for own in trial], np.int64)
