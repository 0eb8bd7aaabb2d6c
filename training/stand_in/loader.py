"""Loads the training batches of the stand-in: windows that end at any moment, all classes in their shares, varied.

Legend of axes: N windows of an epoch, B windows of this process's part of a batch, K classes, J changed windows of a
batch, C channels, H rows, W columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from eventveil.errors import ConfigError
from eventveil.replay.datasets.dvs_gesture import NO_GESTURE, NOBODY
from eventveil.training.data.loader import UNLABELLED, Batch
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.randomness import NamedNoise, numpy_generator, torch_generator
from eventveil.training.stand_in.moments import Integers, Moments
from eventveil.training.stand_in.settings import StandInSettings
from eventveil.training.stand_in.variation import vary

CPU = torch.device("cpu")


class MomentLoader:
    """Loads the windows of a stage; for `run_stage`, like `training.data.loader.BatchLoader`.

    Args:
        moments: of the training people and scenes.
        settings: settings of the run.
        classes: names of the classes.
        mirrored: the mirror image of each class.
        group: the processes that share each batch.

    Raises:
        ConfigError: a class of `shares` is unknown, or a class has no window.
    """

    def __init__(
        self,
        moments: Moments,
        settings: StandInSettings,
        classes: tuple[str, ...],
        mirrored: tuple[int, ...],
        group: ProcessGroup,
    ) -> None:
        self._moments, self._settings, self._group = moments, settings, group
        self._part = group.part(settings.batch)
        window = settings.window
        self._before = window.label_before_us * window.offsets // window.bin_us
        self._end_N, label_N = moments.ends(self._before)
        self._begin_N = moments.begin_R[self._end_N - 1]
        if unknown := sorted(settings.shares.keys() - set(classes)):
            raise ConfigError(f"shares: expected classes ({', '.join(classes)}), got {', '.join(unknown)}")
        self._by_class = [np.flatnonzero(label_N == number) for number in range(len(classes))]
        if missing := [name for name, found in zip(classes, self._by_class, strict=True) if len(found) == 0]:
            raise ConfigError(f"data: no training window of {', '.join(missing)}; simulate more people or scenes")
        share_K = np.array([settings.shares.get(name, 1.0) for name in classes])
        self._share_K = share_K / share_K.sum()
        self._quiet_K, self._nobody = np.isin(classes, (NOBODY, NO_GESTURE)), classes.index(NOBODY)
        self._mirrored = torch.tensor(mirrored)
        self._label_N = label_N
        self._drawn = np.empty((0, settings.batch), np.int64)

    def begin_epoch(self, epoch: int) -> int:
        """Draw the windows of an epoch and return its number of steps."""
        generator, settings = numpy_generator(self._settings.seed, "moments", epoch), self._settings
        steps = settings.windows_per_epoch // settings.batch
        label = generator.choice(len(self._share_K), steps * settings.batch, p=self._share_K)
        among = generator.random(len(label))
        drawn = [self._by_class[k][int(len(self._by_class[k]) * at)] for k, at in zip(label, among, strict=True)]
        self._drawn = np.array(drawn, np.int64).reshape(steps, settings.batch)
        return steps

    def batch(self, epoch: int, step: int) -> Batch:
        """Return the batch of a step of the current epoch."""
        settings, name = self._settings, (self._settings.seed, "stand-in", epoch, step)
        drawn, window = self._drawn[step], self._settings.window
        tempo = settings.variation.tempo ** (2 * numpy_generator("tempo", *name).random(len(drawn)) - 1)
        wanted = np.maximum(1, np.round(window.offsets * tempo)).astype(np.int64)
        rows_per_bin = self._moments.rows_per_bin(self._end_N[drawn], wanted)
        # Every process varies the whole batch, so that their number does not matter, and trains on its part.
        counts_BCHW = self._moments.cut(self._end_N[drawn], rows_per_bin)
        label_B = self._label_N[drawn]
        self._begin_elsewhere(counts_BCHW, label_B, drawn, rows_per_bin, numpy_generator("cut", *name))
        self._stand_beside(counts_BCHW, label_B, numpy_generator("beside", *name))
        generator = torch_generator(CPU, "variation", *name)
        x_BCHW, mirrored_B = vary(torch.from_numpy(counts_BCHW), settings.variation, window.bin_us / 1e6, generator)
        target_B = torch.from_numpy(label_B)
        target_B = torch.where(mirrored_B, self._mirrored[target_B], target_B)
        torch.manual_seed(torch_generator(CPU, "dropout", *name).initial_seed())
        device = self._group.device
        x_BCHW = x_BCHW[self._part].to(device).contiguous(memory_format=torch.channels_last)
        return Batch(
            x_BCHW,
            target_B[self._part].to(device),
            torch.full((len(x_BCHW),), UNLABELLED, device=device),
            NamedNoise(torch_generator(device, "noise", *name), self._group.rank, self._group.size),
            tuple(self._names(drawn)),
        )

    def _begin_elsewhere(
        self,
        counts_BCHW: npt.NDArray[np.float32],
        label_B: Integers,
        drawn_B: Integers,
        rows_per_bin_B: Integers,
        generator: np.random.Generator,
    ) -> None:
        """Replace the first bins of some windows by those of another moment of the same recording, or session.

        The person changes to another class from one bin to the next. From such windows the network learns to decide on
        the latest bins, whatever was before, and as soon for one person as for another: how soon it decides is what
        words tell about people, see docs/results.md. The label is that of the moment whose bins hold its row.
        """
        chosen_J = np.flatnonzero(generator.random(len(drawn_B)) < self._settings.variation.cut)
        begin_J = self._begin_N[drawn_B[chosen_J]]
        first_J, end_J = (np.searchsorted(self._begin_N, begin_J, side) for side in ("left", "right"))
        other_J = generator.integers(first_J, end_J)
        beginnings = self._moments.cut(self._end_N[other_J], rows_per_bin_B[chosen_J])
        kept_J = generator.integers(1, max(2, self._settings.window.bins), len(chosen_J))
        for window, beginning, other, kept in zip(chosen_J, beginnings, other_J, kept_J, strict=True):
            replaced = len(beginning) - 2 * kept  # channels: two for each bin
            counts_BCHW[window, :replaced] = beginning[:replaced]
            if kept * rows_per_bin_B[window] <= self._before:
                label_B[window] = self._label_N[other]

    def _stand_beside(
        self, counts_BCHW: npt.NDArray[np.float32], label_B: Integers, generator: np.random.Generator
    ) -> None:
        """Add any moment of any recording to some windows, a quarter to half of the width to the left or right.

        A gesture of the window keeps its label. Otherwise the label becomes that of the moment at the side, unless
        that shows nobody: whoever stands or walks in the middle does not hide a gesture beside them.
        """
        chosen_J = np.flatnonzero(generator.random(len(label_B)) < self._settings.variation.beside)
        other_J = generator.integers(len(self._end_N), size=len(chosen_J))
        rows_J = np.full(len(chosen_J), self._settings.window.offsets)
        width = counts_BCHW.shape[3]
        by_J = generator.integers(width // 4, width // 2, len(chosen_J), endpoint=True)
        left_J = generator.random(len(chosen_J)) < 0.5
        others = self._moments.cut(self._end_N[other_J], rows_J)
        for window, beside, other, by, left in zip(chosen_J, others, other_J, by_J, left_J, strict=True):
            if left:
                counts_BCHW[window, ..., : width - by] += beside[..., by:]
            else:
                counts_BCHW[window, ..., by:] += beside[..., : width - by]
            if self._quiet_K[label_B[window]] and self._label_N[other] != self._nobody:
                label_B[window] = self._label_N[other]

    def _names(self, drawn: Any) -> list[str]:
        row = self._end_N[drawn] - 1
        recording = np.searchsorted(self._moments.windows.first_row, row, side="right") - 1
        return [self._moments.windows.trials[number].name for number in recording]
