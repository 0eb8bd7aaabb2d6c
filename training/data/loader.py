"""Loads training batches: samples the windows of an epoch, cuts them, moves them to the device and augments them there.

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
from eventveil.replay.datasets.trials import Trial, people_of
from eventveil.training.data.augment import MIRRORED_GESTURES, augment, draw_augmentation
from eventveil.training.data.sampling import Draw, at_random, in_batches
from eventveil.training.data.windows import Windows
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.randomness import NamedNoise, numpy_generator, torch_generator
from eventveil.training.settings import TrainSettings

UNLABELLED = -1  # stands for an unknown target, or for no person


@dataclass(frozen=True, slots=True)
class Batch:
    """The data of one step.

    Attributes:
        x_BCHW: float32 windows, augmented, on the device.
        target_B: classes; -1 if the dataset has none.
        person_B: indices of the training people; -1 where none of them is seen.
        noise: noise of this step.
        trials: trial names of the whole batch, all processes together; they may appear only in the run folder.
    """

    x_BCHW: torch.Tensor
    target_B: torch.Tensor
    person_B: torch.Tensor
    noise: NamedNoise
    trials: tuple[str, ...]

    @property
    def global_size(self) -> int:
        """Number of windows in the whole batch, all processes together."""
        return len(self.trials)


class BatchLoader:
    """Loads the training windows of a stage.

    Args:
        windows: windows of the training people.
        settings: settings of the run.
        stage: name of the stage; each stage draws different random numbers.
        mirrored_targets: the mirror image of each class.
        group: the processes that share each batch.
        people_only: leave out trials in which no person is seen.

    Attributes:
        people: names of the training people, by index.
    """

    def __init__(
        self,
        windows: Windows,
        settings: TrainSettings,
        stage: str,
        mirrored_targets: tuple[int, ...],
        group: ProcessGroup,
        *,
        people_only: bool = False,
    ) -> None:
        self.people = people_of(windows.trials)
        self._people_only = people_only
        self._windows = windows
        self._settings = settings
        self._stage = stage
        self._group = group
        self._part = group.part(settings.batch)
        self._target_T = torch.from_numpy(targets_of(windows.trials))
        self._person_T = np.array([
            self.people.index(trial.subject) if trial.person else UNLABELLED for trial in windows.trials
        ])  # fmt: skip
        self._mirrored = torch.tensor([*mirrored_targets, UNLABELLED])  # index -1: no target stays no target
        self._batches: list[Draw] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="windows")
        self._next: tuple[int, Future[npt.NDArray[np.float32]]] | None = None

    def begin_epoch(self, epoch: int) -> int:
        """Sample the windows of an epoch and return its number of steps.

        Raises:
            ConfigError: there are not enough windows for one batch.
        """
        settings, generator = self._settings, self._generator("windows", epoch)
        draw = at_random(self._windows, settings.window.per_trial, settings.window.straddle, generator)
        if self._people_only:
            draw = draw[np.flatnonzero(self._person_T[draw.trial] != UNLABELLED)]
        person = self._person_T[draw.trial]
        keep_last = settings.last_batch == "keep"
        self._batches = in_batches(
            draw, person, settings.batch, settings.people_per_batch, generator, keep_last=keep_last
        )
        self._next = None
        if not self._batches:
            raise ConfigError(
                f"batch: {len(draw)} training windows do not fill a batch of {settings.batch}; lower batch or "
                "people_per_batch, or raise window.per_trial"
            )
        return len(self._batches)

    def batch(self, epoch: int, step: int) -> Batch:
        """Return the batch of a step of the current epoch."""
        draw = self._batches[step]
        part = draw[self._part]
        x_BCHW = torch.from_numpy(self._cut(step))
        if self._group.device.type == "cuda":
            x_BCHW = x_BCHW.pin_memory()  # otherwise the copy waits until the device has computed the step before
        x_BCHW = x_BCHW.to(self._group.device, non_blocking=True)
        target_B, person_B = self._target_T[part.trial], torch.from_numpy(self._person_T[part.trial])
        name = (self._settings.seed, self._stage, epoch, step)
        parameters_B4 = draw_augmentation(
            len(draw),
            self._settings.window.size,
            torch_generator(torch.device("cpu"), "augment", *name),
            self._settings.augment,
        )[self._part]
        x_BCHW = prepared(augment(x_BCHW, parameters_B4), self._settings)
        target_B = torch.where(parameters_B4[:, 3] == 1, self._mirrored[target_B], target_B)
        noise = torch_generator(self._group.device, "noise", *name)
        torch.manual_seed(torch_generator(torch.device("cpu"), "dropout", *name).initial_seed())
        return Batch(
            x_BCHW,
            target_B.to(self._group.device),
            person_B.to(self._group.device),
            NamedNoise(noise, self._group.rank, self._group.size),
            tuple(self._windows.trials[trial].name for trial in draw.trial),
        )

    def _cut(self, step: int) -> npt.NDArray[np.float32]:
        """Cut the windows of a step, and start to cut those of the next step in the background."""
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
    """Return windows as networks expect them: voxel grids normalised, counts unchanged; channels last in memory.

    Grids of the box around events are normalised already, before they were resized.
    """
    if settings.window.mode == "voxel" and not isinstance(settings.window.crop, str):
        x_BCHW = normalise_nonzero(x_BCHW)
    return x_BCHW.contiguous(memory_format=torch.channels_last)


def targets_of(trials: tuple[Trial, ...]) -> npt.NDArray[np.int64]:
    """Return the class of each trial, (T,); -1 if it has none."""
    return np.array([UNLABELLED if trial.target is None else trial.target for trial in trials])


def mirrored_targets(kind: str, classes: int) -> tuple[int, ...]:
    """Return the mirror image of each class of a dataset; only gestures distinguish left and right."""
    gestures = MIRRORED_GESTURES if kind == "dvs-gesture" else ()
    return (*gestures, *range(len(gestures), classes))
