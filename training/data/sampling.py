"""Samples the training windows of an epoch.

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
    """Windows to cut.

    Attributes:
        start: (N,) first row.
        trial: (N,) the trial that fills most of the window.
    """

    start: Integers
    trial: Integers

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, part: slice | Integers) -> Draw:
        return Draw(self.start[part], self.trial[part])


def at_random(windows: Windows, per_trial: int, straddle: float, generator: np.random.Generator) -> Draw:
    """Draw windows for training: `per_trial` from each trial, at random offsets.

    Args:
        windows: the windows to draw from.
        per_trial: windows per trial.
        straddle: share of the windows that may cross the ends of their trial. At least half of such a window lies in
            its trial, if that is long enough; neighbouring trials of the same session fill the rest. A live pipeline
            cannot know where a gesture starts either.
        generator: generator of this epoch.
    """
    length = windows.shape.per_window
    trial = np.repeat(np.arange(len(windows.trials)), per_trial)
    first, end = windows.first_row[trial], windows.first_row[trial + 1]
    position, straddles = generator.random(len(trial)), generator.random(len(trial)) < straddle
    session = windows.session_rows[trial]
    low = np.where(straddles, np.maximum(first - length // 2, session[:, 0]), first)
    high = np.where(straddles, np.minimum(end - (length + 1) // 2, session[:, 1] - length), end - length)
    start = (low + np.floor(position * (high - low + 1))).astype(np.int64)
    return Draw(start, np.where(straddles, _majority_trial(windows, start), trial))


def in_order(windows: Windows, hop: int) -> Draw:
    """Return the windows that a live pipeline would cut from each trial: from its first event, `hop` rows apart."""
    length = windows.shape.per_window
    starts = [
        np.arange(first, end - length + 1, hop)
        for first, end in zip(windows.first_row[:-1], windows.first_row[1:], strict=True)
    ]
    trial = np.repeat(np.arange(len(starts)), [len(start) for start in starts])
    return Draw(np.concatenate(starts).astype(np.int64), trial)


def in_batches(
    draw: Draw,
    person: Integers,
    batch: int,
    people_per_batch: int | None,
    generator: np.random.Generator,
    *,
    keep_last: bool = False,
) -> list[Draw]:
    """Shuffle windows and divide them into whole batches; the remainder is dropped in this epoch, unless it is kept.

    Args:
        draw: the windows of the epoch.
        person: (N,) person of each window.
        batch: windows per batch.
        people_per_batch: number of equal groups per batch, each of one person, so that a triplet loss finds positives;
            None mixes all windows.
        generator: generator of this epoch.
        keep_last: make a smaller batch of the remainder, if it has two windows or more, as batch norm needs.
    """
    order = generator.permutation(len(draw))
    if people_per_batch is not None:
        size = batch // people_per_batch
        by_person = [order[person[order] == name] for name in np.unique(person)]
        groups = [rows[at : at + size] for rows in by_person for at in range(0, len(rows) - size + 1, size)]
        shuffled: list[Any] = [groups[k] for k in generator.permutation(len(groups))]
        order = np.concatenate(shuffled) if shuffled else order[:0]
    smallest = 2 if keep_last else batch
    return [draw[order[at : at + batch]] for at in range(0, len(order) - smallest + 1, batch)]


def _majority_trial(windows: Windows, start: Integers) -> Integers:
    """Return the trial that most rows of each window belong to; the earlier one in a tie."""
    rows = start[:, None] + np.arange(windows.shape.per_window)
    trial = np.searchsorted(windows.first_row, rows, side="right") - 1
    return np.array([np.bincount(of_row - of_row[0]).argmax() + of_row[0] for of_row in trial], np.int64)
