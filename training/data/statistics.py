"""Measures the training windows, so that live windows can later be compared with them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eventveil.models.metadata import TrainedScene
from eventveil.training.data.windows import Windows

PERCENTILES = (1, 50, 99)
CHUNK = 4096  # rows summed at a time


def measure_scene(windows: Windows) -> TrainedScene:
    """Measure training windows: their field of view in pixels, and the density of events in them.

    All windows that lie within one trial count, at every offset. The box around events has neither: it follows the
    person, and resizing repeats or leaves out pixels. Voxel grids have no density, because they do not hold counts.
    """
    crop = windows.shape.crop
    if isinstance(crop, str):
        return TrainedScene()
    if crop is not None:
        return TrainedScene(field=crop[2:], density=_density(windows))
    with windows.trials[0].open() as trial:
        return TrainedScene(field=(trial.sensor.width, trial.sensor.height), density=_density(windows))


def _density(windows: Windows) -> tuple[float, float, float] | None:
    shape = windows.shape
    if shape.mode == "voxel":
        return None
    rows = len(windows.rows)
    sums = np.zeros(rows + 1, np.int64)
    for at in range(0, rows, CHUNK):
        sums[at + 1 : at + 1 + CHUNK] = windows.rows[at : at + CHUNK].sum(axis=(1, 2, 3), dtype=np.int64)
    total_before = np.cumsum(sums)
    starts: npt.NDArray[np.int64] = np.concatenate([
        np.arange(first, end - shape.per_window + 1)
        for first, end in zip(windows.first_row[:-1], windows.first_row[1:], strict=True)
    ])  # fmt: skip
    events = total_before[starts + shape.per_window] - total_before[starts]
    low, middle, high = np.percentile(events / (shape.size[0] * shape.size[1]), PERCENTILES)
    return round(float(low), 3), round(float(middle), 3), round(float(high), 3)
