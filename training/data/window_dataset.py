"""PyTorch datasets of windows from any source.

Windows are raw: keep them, and what a data loader makes of them, on the machine that has the camera.

Legend of axes: C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from eventveil.errors import ConfigError
from eventveil.events import Sensor
from eventveil.models.metadata import Metadata
from eventveil.models.runtime import Anonymizer
from eventveil.replay.datasets.trials import Trial
from eventveil.stream.histogram import Mode
from eventveil.training.data.binned_trials import RowShape, windows_of
from eventveil.training.data.sampling import in_order
from eventveil.training.data.trial_source import UNKNOWN_US, open_trials
from eventveil.training.data.windows import build, build_in_memory

UNKNOWN = -1
"""Marks an unknown target or person."""

Function = Callable[[torch.Tensor], torch.Tensor]


class WindowSample(NamedTuple):
    """A window and what is known about it; a data loader makes a batch of each.

    Attributes:
        window: float32 (C, H, W): counts, C = 2 * bins with channel 2k + p, or a voxel grid, C = bins.
        target: index of its class in `classes` of the dataset; -1 if unknown.
        person: index of the person in `people` of the dataset; -1 if unknown.
        start_us: where it starts, microseconds from the first event of its trial.
    """

    window: torch.Tensor
    target: int
    person: int
    start_us: int


class _Cut:
    """Cuts a source into windows, for both datasets; `WindowDataset` explains the arguments."""

    def __init__(
        self,
        source: str | Path,
        *,
        size: tuple[int, int] = (128, 128),
        bins: int = 5,
        bin_us: int | None = 50_000,
        hop: int | None = None,
        mode: Mode = "windows",
        crop: tuple[int, int, int, int] | None = None,
        people: Collection[str] | None = None,
        sensor: Sensor | None = None,
        anonymizer: Anonymizer | None = None,
        transform: Function | None = None,
    ) -> None:
        if mode == "voxel" and hop not in (None, bins):
            raise ConfigError(f"voxel grids do not overlap: expected no hop, or hop={bins} (bins), got {hop}")
        if (mode == "recording") != (bin_us is None) or not 1 <= (hop or bins) <= bins:
            raise ConfigError(
                f"expected bin_us, or mode='recording' without it, and a hop from 1 to {bins}; got {mode=}, "
                f"{bin_us=}, {hop=}"
            )
        self._shape = RowShape.of(mode=mode, bins=bins, bin_us=bin_us, offsets=1, size=size, crop=crop)
        self._hop = 1 if mode == "voxel" else hop or bins
        self._source = open_trials(source, sensor=sensor, people=people)
        self._anonymizer = anonymizer
        self._transform = transform

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; empty if the source has none."""
        return self._source.classes

    @property
    def people(self) -> tuple[str, ...]:
        """Names of the people, sorted; empty if none is known."""
        return self._source.people

    def _sample(self, window_CHW: npt.NDArray[np.float32], trial: Trial, number: int) -> WindowSample:
        """Describe the window of this number in its trial."""
        start_us = 0 if self._shape.row_us is None else number * self._hop * self._shape.row_us
        person = self.people.index(trial.subject) if trial.person and trial.subject in self.people else UNKNOWN
        target = UNKNOWN if trial.target is None else trial.target
        if self._anonymizer is not None:
            window_CHW = self._anonymizer([window_CHW.astype(self._shape.dtype).reshape(self._raw_shape)])[0]
        window = torch.from_numpy(window_CHW)
        return WindowSample(window if self._transform is None else self._transform(window), target, person, start_us)

    @property
    def _raw_shape(self) -> tuple[int, ...]:
        """As an `Anonymizer` takes windows: (K, 2, H, W), or (B, H, W) for a voxel grid."""
        return self._shape.row if self._shape.mode == "voxel" else (self._shape.bins, *self._shape.row)


class WindowDataset(_Cut, Dataset[WindowSample]):
    """The windows of recordings and datasets, in any order: a map-style dataset.

    Windows are those that a pipeline cuts from each trial: from its first event on, `hop` bins apart. Events at the end
    that do not fill a window are left out; a trial shorter than a window gives one with zeros at its end.

    Args:
        source: a recording, the folder of a dataset, or a URI as in `dvs-gesture:PATH?split=train`.
        size: width and height of a window, pixels.
        bins: bins of a window.
        bin_us: length of a bin, microseconds; None in mode "recording".
        hop: bins from the start of a window to that of the next; None: `bins`.
        mode: what a window is, as in `eventveil.stream.histogram.WindowedHistogrammer`.
        crop: (x, y, width, height) of the sensor, pixels; None: all of it.
        people: the only people to use, so that no person is in two splits: see `eventveil.replay.datasets.splits`.
        sensor: geometry of a recording that does not hold it.
        anonymizer: anonymizes each window, with new noise each time it is taken. A stand-in needs earlier windows, too:
            see `AnonymizeEvents`.
        transform: applied last, to each window, a float32 tensor (C, H, W).
        cache: folder for the binned trials, which only its owner can read. None: they are kept in memory.

    Raises:
        ConfigError: a setting is out of range, or the source has no end or no events: use `WindowStream`.
        EventVeilError: the source cannot be read.
        AnonymizerError: a window was taken that does not fit the anonymizer.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/seen.npy", [[0, 1, 2, 1], [90, 3, 3, 0], [210, 0, 0, 1]])  # t, x, y, p
        ...     seen = f"{folder}/seen.npy?columns=t,x,y,p"
        ...     windows = WindowDataset(seen, size=(4, 4), bins=2, bin_us=50, sensor=Sensor(4, 4))
        >>> len(windows), windows[0].window.sum((1, 2)).tolist(), windows[1].start_us
        (2, [0.0, 1.0, 1.0, 0.0], 100)
    """

    def __init__(self, source: str | Path, *, cache: Path | None = None, **cut: Any) -> None:
        super().__init__(source, **cut)
        if self._source.endless:
            raise ConfigError(f"{source}: is endless, so its windows cannot be counted; use WindowStream")
        trials = [_measured(trial) for trial in self._source.trials]
        self._windows = build_in_memory(trials, self._shape) if cache is None else build(trials, self._shape, cache)
        self._draw = in_order(self._windows, self._hop)

    def __len__(self) -> int:
        return len(self._draw)

    def __getitem__(self, index: int) -> WindowSample:
        """Return a window.

        Raises:
            IndexError: there is no such window.
        """
        number = range(len(self))[index]
        start, trial = int(self._draw.start[number]), int(self._draw.trial[number])
        window_CHW = self._windows.cut(np.array([start]))[0]
        place = (start - int(self._windows.first_row[trial])) // self._hop
        return self._sample(window_CHW, self._windows.trials[trial], place)


class WindowStream(_Cut, IterableDataset[WindowSample]):
    """The windows of any source, one after the other: an iterable dataset, endless for simulated people and cameras.

    The windows of a recording or a dataset are those of `WindowDataset`, trial after trial. The workers of a data
    loader share the trials, so that each window comes once; of a live camera, only the first worker reads.

    Args:
        source: as for `WindowDataset`, or also `simulate:` or a camera, as in `dv://`.
        cut: how to cut it, as for `WindowDataset`.

    Raises:
        ConfigError: a setting is out of range.
        EventVeilError: the source cannot be read; also during the iteration.

    Example:
        >>> from itertools import islice
        >>> people = WindowStream("simulate:?subjects=2&seconds=0.5", size=(32, 32), bins=2, bin_us=100_000)
        >>> [(tuple(sample.window.shape), sample.start_us) for sample in islice(people, 2)]
        [((4, 32, 32), 0), ((4, 32, 32), 200000)]
        >>> people.people
        ('user01', 'user02')
    """

    def __iter__(self) -> Iterator[WindowSample]:
        worker = get_worker_info()
        number, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for trial in islice(self._source.trials, number, None, step):
            for place, window_CHW in enumerate(windows_of(trial, self._shape, self._hop)):
                yield self._sample(window_CHW, trial, place)


def cut_of(metadata: Metadata) -> dict[str, Any]:
    """Return how to cut windows for a network, as arguments of `WindowDataset` and `WindowStream`.

    Args:
        metadata: metadata of its weights.

    >>> from eventveil.models import load_weights
    >>> from eventveil.models.shipped import NOISY_CHANNEL
    >>> cut_of(load_weights(NOISY_CHANNEL).metadata)
    {'size': (32, 32), 'bins': 10, 'bin_us': 100000, 'hop': 10, 'mode': 'windows'}
    """
    mode = "voxel" if metadata.representation == "voxel" else metadata.mode
    names = ("size", "bins", "bin_us", "hop")
    return {name: getattr(metadata, name) for name in names} | {"mode": mode}


def _measured(trial: Trial) -> Trial:
    """Return the trial with its duration, which takes reading it if only its events determine it.

    Raises:
        ConfigError: it has no events.
    """
    if trial.duration_us != UNKNOWN_US:
        return trial
    first_us, last_us = None, 0
    with trial.open() as packets:
        for packet in packets:
            if len(packet):
                first_us = int(packet.t[0]) if first_us is None else first_us
                last_us = int(packet.t[-1])
    if first_us is None:
        raise ConfigError(f"{trial.name}: has no events, so there is no window in it; leave it out")
    return replace(trial, duration_us=last_us - first_us)
