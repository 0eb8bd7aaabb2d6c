"""Windows on their way to the networks: drawn for the epoch, cut, moved to the device, augmented there.

Legend of axes: B windows of this process's part of a batch, C channels, H rows, W columns, T trials.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from eventveil.errors import ConfigError
from eventveil.models.autoencoder import normalise_nonzero
from eventveil.replay.datasets.trials import Trial
from eventveil.training.data.augment import MIRRORED_GESTURES, augment, draw_augmentation
from eventveil.training.data.sampling import Draw, at_random, in_batches
from eventveil.training.data.windows import Windows
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.randomness import NamedNoise, numpy_generator, torch_generator
from eventveil.training.settings import TrainSettings

NOBODY = -1  # in the place of a target or a person that is not known


@dataclass(frozen=True, slots=True)
class Batch:
    """What a step learns from.

    Attributes:
        x_BCHW: float32 windows, augmented, on the device.
        target_B: classes; -1 where there are none.
        person_B: numbers of the people in training.
        noise: of this step.
        trials: names of what the windows are of, all processes' parts; to be told in the run folder only.
    """

    x_BCHW: torch.Tensor
    target_B: torch.Tensor
    person_B: torch.Tensor
    noise: NamedNoise
    trials: tuple[str, ...]

    @property
    def everybody(self) -> int:
        """Windows in the whole batch."""
        return len(self.trials)


class BatchLoader:
    """The training windows of a stage.

    Args:
        windows: of the people in training.
        settings: of the run.
        stage: its name: no two stages see the same draws.
        mirrored_targets: what each class is in a mirror.
        world: the processes that share each batch.

    Attributes:
        people: names of the people, by their numbers.
    """

    def __init__(
        self,
        windows: Windows,
        settings: TrainSettings,
        stage: str,
        mirrored_targets: tuple[int, ...],
        world: ProcessGroup,
    ) -> None:
        self.people = people_of(windows.trials)
        self._windows = windows
        self._settings = settings
        self._stage = stage
        self._world = world
        self._part = world.part(settings.batch)
        self._target_T = torch.from_numpy(targets_of(windows.trials))
        self._person_T = np.array([self.people.index(trial.subject) for trial in windows.trials])
        self._mirrored = torch.tensor([*mirrored_targets, NOBODY])  # -1, nobody's target, stays so
        self._batches: list[Draw] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="windows")
        self._next: tuple[int, Future[npt.NDArray[np.float32]]] | None = None

    def begin_epoch(self, epoch: int) -> int:
        """Draw the windows of an epoch; returns how many steps it has.

        Raises:
            ConfigError: there are not enough windows for one batch.
        """
        settings, generator = self._settings, self._generator("windows", epoch)
        draw = at_random(self._windows, settings.window.per_trial, settings.window.straddle, generator)
        person = self._person_T[draw.trial]
        self._batches = in_batches(draw, person, settings.batch, settings.people_per_batch, generator)
        self._next = None
        if not self._batches:
            raise ConfigError(
                f"batch: {len(draw)} windows of people in training do not make a batch of {settings.batch}; lower "
                "batch or people_per_batch, or raise window.per_trial"
            )
        return len(self._batches)

    def batch(self, epoch: int, step: int) -> Batch:
        """Return the batch of a step of the epoch that was begun."""
        draw = self._batches[step]
        own = draw[self._part]
        x_BCHW = torch.from_numpy(self._cut(step)).to(self._world.device, non_blocking=True)
        target_B, person_B = self._target_T[own.trial], torch.from_numpy(self._person_T[own.trial])
        name = (self._settings.seed, self._stage, epoch, step)
        parameters_B4 = draw_augmentation(
            len(draw),
            self._settings.window.size,
            torch_generator(torch.device("cpu"), "augment", *name),
            self._settings.augment,
        )[self._part]
        x_BCHW = prepared(augment(x_BCHW, parameters_B4), self._settings)
        target_B = torch.where(parameters_B4[:, 3] == 1, self._mirrored[target_B], target_B)
        noise = torch_generator(self._world.device, "noise", *name)
        torch.manual_seed(torch_generator(torch.device("cpu"), "dropout", *name).initial_seed())
        return Batch(
            x_BCHW,
            target_B.to(self._world.device),
            person_B.to(self._world.device),
            NamedNoise(noise, self._world.rank, self._world.size),
            tuple(self._windows.trials[trial].name for trial in draw.trial),
        )

    def _cut(self, step: int) -> npt.NDArray[np.float32]:
        """Cut the windows of a step, and begin with the next ones while these are learned from."""
        if self._next is not None and self._next[0] == step:
            values = self._next[1].result()
        else:
            values = self._windows.cut(self._batches[step][self._part].start)
        self._next = None
        if step + 1 < len(self._batches):
            start = self._batches[step + 1][self._part].start
            self._next = (step + 1, self._thread.submit(self._windows.cut, start))
        return values

    def _generator(self, *name: Any) -> np.random.Generator:
        return numpy_generator(self._settings.seed, self._stage, *name)


def prepared(x_BCHW: torch.Tensor, settings: TrainSettings) -> torch.Tensor:
    """Windows as networks take them: voxel grids normalised, counts as they are; channels last in memory."""
    if settings.window.mode == "voxel":
        x_BCHW = normalise_nonzero(x_BCHW)
    return x_BCHW.contiguous(memory_format=torch.channels_last)


def people_of(trials: tuple[Trial, ...]) -> tuple[str, ...]:
    """The people of some trials, sorted."""
    return tuple(sorted({trial.subject for trial in trials}))


def targets_of(trials: tuple[Trial, ...]) -> npt.NDArray[np.int64]:
    """(T,) the class of each trial; -1 where there are none."""
    return np.array([NOBODY if trial.target is None else trial.target for trial in trials])


def mirrored_targets(kind: str, classes: int) -> tuple[int, ...]:
    """What each class of a dataset is in a mirror: gestures have a left and a right, the others have not."""
    return MIRRORED_GESTURES if kind == "dvs-gesture" else tuple(range(classes))
