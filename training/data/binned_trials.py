"""Bins trials once into rows, short time spans that are added up to windows at many offsets.

A histogram is a sum, so the counts of a bin are the sum of the counts of its parts. A row is such a part,
`bin_us / offsets` long, cut by the pipeline's own histogrammer. A window that starts at any row then takes a few
additions, and equals what the histogrammer produces for a window that starts there. In mode "recording" a row is one of
the trial's bins; in mode "voxel" it is a whole grid, because voxel grids do not add up.

Nothing here imports torch: child processes make the rows and must start quickly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from eventveil.errors import ConfigError
from eventveil.events import Sensor
from eventveil.replay.datasets.trials import Trial
from eventveil.stream.histogram import Mode, WindowedHistogrammer
from eventveil.stream.histogram.event_box import Box
from eventveil.training.data.event_rules import changed

MAX_COUNT = 65_535  # counts of a window saturate here, as in the histogrammer

Rows = npt.NDArray[Any]
Crop = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class RowShape:
    """The length of a row, and how many make a window.

    Attributes:
        mode: as in `WindowedHistogrammer`.
        bins: bins per window.
        row_us: length of a row in microseconds; None in mode "recording".
        rows_per_bin: rows that are summed into a bin.
        size: width and height, pixels.
        crop: part of the sensor, or the box around a window's events as in `stream.histogram.event_box`; None for the
            whole sensor.
        clock_us, frames: as in `WindowedHistogrammer`.
        rule: changes the events first, see `event_rules`; None leaves them as they are.
    """

    mode: Mode
    bins: int
    row_us: int | None
    rows_per_bin: int
    size: tuple[int, int]
    crop: Crop | Box | None = None
    clock_us: int = 1
    frames: bool = False
    rule: str | None = None

    @classmethod
    def of(
        cls,
        *,
        mode: Mode,
        bins: int,
        bin_us: int | None,
        offsets: int,
        size: tuple[int, int],
        crop: Crop | Box | None,
        clock_us: int = 1,
        frames: bool = False,
    ) -> Self:
        """Divide the bins into rows.

        Raises:
            ConfigError: a bin is not a whole number of rows long.
        """
        if mode == "voxel" and bin_us is not None:
            return cls(mode, bins, bins * bin_us, 1, size, crop)
        if bin_us is None:
            return cls(mode, bins, None, 1, size, crop, clock_us, frames)
        if bin_us % offsets:
            raise ConfigError(f"window.offsets: expected a divisor of bin_us, {bin_us}, got {offsets}")
        return cls(mode, bins, bin_us // offsets, offsets, size, crop)

    @property
    def per_window(self) -> int:
        """Rows per window."""
        return 1 if self.mode == "voxel" else self.bins * self.rows_per_bin

    @property
    def row(self) -> tuple[int, int, int]:
        """Shape of a row: (2, H, W), or (bins, H, W) for a voxel grid."""
        width, height = self.size
        return (self.bins if self.mode == "voxel" else 2, height, width)

    @property
    def dtype(self) -> type[np.uint16 | np.float32]:
        """Data type of a row."""
        return np.float32 if self.mode == "voxel" else np.uint16

    def rows_of(self, trial: Trial) -> int:
        """Number of rows of a trial: its whole ones, but at least one window; missing ones at the end stay zero."""
        if self.row_us is None:
            return self.per_window
        return max(self.per_window, trial.duration_us // self.row_us)


def fill(trial: Trial, shape: RowShape, out: Rows) -> None:
    """Write the rows of a trial, starting at its first event.

    Args:
        trial: the trial to read.
        shape: shape of its rows.
        out: zeros, (rows, *shape.row); rows after the end of the trial stay zero.

    Raises:
        EventVeilError: the events cannot be read or binned.
    """
    for number, counts in zip(range(len(out)), _counts(trial, shape), strict=False):
        out[number] = counts


def windows_of(trial: Trial, shape: RowShape, hop: int) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the whole windows of a trial from its first event on, without a file: float32 (C, H, W).

    They are those that `fill` and `eventveil.training.data.windows.Windows.cut` give, but each is yielded once its
    events are read. For a trial with duration 0, the events decide which windows are whole; the first one always is.

    Args:
        trial: the trial to read; it may be endless.
        shape: one row per bin, see `RowShape`.
        hop: rows from the start of a window to that of the next.

    Raises:
        EventVeilError: the events cannot be read or binned.
    """
    whole = None if trial.duration_us == 0 else (shape.rows_of(trial) - shape.per_window) // hop + 1
    channels, seq = (-1, *shape.row[1:]), 0
    for window in _whole_windows(trial, shape, hop, whole):
        yield window.astype(np.float32).reshape(channels)
        seq += 1
    for _ in range(seq, whole or 0):  # the trial ends without events
        yield np.zeros((shape.row[0] * (1 if shape.mode == "voxel" else shape.bins), *shape.row[1:]), np.float32)


def _whole_windows(trial: Trial, shape: RowShape, hop: int, whole: int | None) -> Iterator[Rows]:
    with trial.open() as source:
        hop_bins = hop if shape.mode == "windows" else None
        histogrammer = _histogrammer(source.sensor, shape, shape.bins, hop_bins)
        for packet in source:
            for window in histogrammer.push(packet):
                if whole is not None and window.seq >= whole:
                    return
                yield window.counts
        for window in histogrammer.finish():
            if window.seq == 0 or (whole is not None and window.seq < whole):
                yield window.counts


def _histogrammer(sensor: Sensor, shape: RowShape, bins: int, hop: int | None = None) -> WindowedHistogrammer:
    boxed = isinstance(shape.crop, str)
    return WindowedHistogrammer(
        sensor,
        shape.size,
        bins,
        None if shape.mode == "recording" else _bin_us(shape),
        hop=hop,
        mode=shape.mode,
        crop=None if boxed else shape.crop,  # type: ignore[arg-type]  # mypy does not follow `boxed`
        box=shape.crop if boxed else None,  # type: ignore[arg-type]
        clock_us=shape.clock_us,
        frames=shape.frames,
    )


def _counts(trial: Trial, shape: RowShape) -> Iterator[Rows]:
    with trial.open() as source:
        recording = shape.mode == "recording"
        histogrammer = _histogrammer(source.sensor, shape, shape.bins if shape.mode != "windows" else 1)
        for packet in source if shape.rule is None else changed(list(source), shape.rule, trial.name):
            for window in histogrammer.push(packet):
                yield _as_row(window.counts, shape)
        for window in histogrammer.finish():
            yield from window.counts if recording else [_as_row(window.counts, shape)]


def _bin_us(shape: RowShape) -> int:
    assert shape.row_us is not None
    return shape.row_us // shape.bins if shape.mode == "voxel" else shape.row_us


def _as_row(counts: Rows, shape: RowShape) -> Rows:
    return counts if shape.mode == "voxel" else counts[0]
