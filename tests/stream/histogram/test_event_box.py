"""The box around a window's events, against its formula, cell by cell; and the same in a pipeline as in training."""

from __future__ import annotations

import numpy as np
import pytest

from eventveil.errors import EventError
from eventveil.events import EventPacket, Sensor
from eventveil.stream.histogram import WindowedHistogrammer
from eventveil.stream.planning.plan import WindowPlan
from eventveil.stream.preprocess.view import View
from eventveil.stream.settings.pipeline import SceneSettings

SENSOR = Sensor(40, 30)
BINS, BIN_US = 5, 6_660


def packet(seed=0, count=300, x=(7, 20), y=(3, 25), span_us=33_000, from_us=0):
    random = np.random.default_rng(seed)
    t = np.sort(random.integers(from_us, from_us + span_us, count))
    return EventPacket.of(t, random.integers(*x, count), random.integers(*y, count), random.integers(0, 2, count) > 0)


def windows(histogrammer, *packets):
    found = [window.counts for events in packets for window in histogrammer.push(events)]
    return [*found, *(window.counts for window in histogrammer.finish())]


def box_of(events):
    return int(events.x.min()), int(events.y.min()), int(events.x.max()) + 1, int(events.y.max()) + 1


def resized(grid, box, size, *, square, normalise):
    """Normalise, pad, and take for each cell (i, j) of H x W the cell (floor(i h / H), floor(j w / W)) of h x w."""
    left, top, right, bottom = box
    grid = grid.astype(np.float64)
    if normalise:
        values = [value for value in grid.ravel() if value != 0]
        mean = sum(values) / len(values)
        deviation = (sum(value**2 for value in values) / len(values) - mean**2) ** 0.5
        grid = np.where(grid != 0, (grid - mean) / deviation, 0.0)
    height, width = bottom - top, right - left
    side = max(height, width)
    above, before = ((side - height) // 2, (side - width) // 2) if square else (0, 0)
    rows, columns = (side, side) if square else (height, width)
    out = np.zeros((*grid.shape[:-2], size[1], size[0]))
    for i in range(size[1]):
        for j in range(size[0]):
            row, column = i * rows // size[1] - above, j * columns // size[0] - before
            if 0 <= row < height and 0 <= column < width:
                out[..., i, j] = grid[..., top + row, left + column]
    return out


@pytest.mark.parametrize("box", ["events", "square"])
@pytest.mark.parametrize("size", [(9, 12), (32, 64)])
def test_a_voxel_grid_is_normalised_and_then_resized_by_nearest_neighbour(box, size):
    first, second = packet(1), packet(2, x=(1, 9), y=(20, 29), from_us=BINS * BIN_US)
    start = {"bins": BINS, "bin_us": BIN_US, "mode": "voxel", "start_us": 0}
    got = windows(WindowedHistogrammer(SENSOR, size, box=box, **start), first, second)
    plain = windows(WindowedHistogrammer(SENSOR, **start), first, second)
    assert len(got) == len(plain) == 2
    for result, grid, events in zip(got, plain, (first, second), strict=True):  # each window has its own box
        want = resized(grid, box_of(events), size, square=box == "square", normalise=True)
        np.testing.assert_allclose(result, want, atol=1e-4)
        assert result.dtype == np.float32


def test_counts_of_a_recording_are_resized_as_they_are():
    events = packet(3, x=(2, 31), y=(9, 17))
    got = windows(WindowedHistogrammer(SENSOR, (24, 24), BINS, mode="recording", box="square"), events)
    plain = windows(WindowedHistogrammer(SENSOR, None, BINS, mode="recording"), events)
    want = resized(plain[0], box_of(events), (24, 24), square=True, normalise=False)
    np.testing.assert_array_equal(got[0], want)
    assert got[0].shape == (BINS, 2, 24, 24)


def test_a_pipeline_frames_its_windows_as_training_does():
    plan = WindowPlan(mode="voxel", bins=BINS, bin_us=BIN_US, hop=BINS, size=(16, 24), box="events")
    events = packet(4, x=(28, 39))  # far from the centre, which is what a pipeline crops to otherwise
    view = View.of(SENSOR, SceneSettings(), plan.shape, plan.field)
    got = windows(plan.histogrammer(view, 0), events)
    trained = windows(
        WindowedHistogrammer(SENSOR, (16, 24), BINS, BIN_US, mode="voxel", start_us=0, box="events"), events
    )
    np.testing.assert_array_equal(got, trained)
    assert (got[0][..., 0] != 0).any()
    assert (got[0][..., -1] != 0).any()


def test_an_empty_window_is_empty_and_overlap_is_refused():
    silence = EventPacket.empty()
    silence = EventPacket(silence.t, silence.x, silence.y, silence.p, until_us=BINS * BIN_US)
    histogrammer = WindowedHistogrammer(SENSOR, (8, 8), BINS, BIN_US, mode="voxel", start_us=0, box="events")
    assert [window.counts.any() for window in histogrammer.push(silence)] == [False]
    for settings in ({"size": None}, {"size": (8, 8), "hop": 2}):
        with pytest.raises(EventError, match="box around events needs a size, and windows that do not overlap"):
            WindowedHistogrammer(SENSOR, bins=BINS, bin_us=BIN_US, box="events", **settings)
