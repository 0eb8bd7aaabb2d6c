"""The voxel grid against its slow twin, and its laws."""

from __future__ import annotations

import numpy as np
import pytest
import reference_histogram as reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import SENSOR, cuts, events, settings

from eventveil import EventPacket, Sensor
from eventveil.stream.histogram import HistogramStats, WindowedHistogrammer

pytestmark = pytest.mark.kernel


def grids(packets, sensor=SENSOR, **keywords):
    h = WindowedHistogrammer(sensor, mode="voxel", **keywords)
    windows = [window for packet in packets for window in h.push(packet)]
    return [*windows, *h.finish()], h.stats


def test_an_event_is_shared_between_its_neighbours_in_time():
    packet = EventPacket.of([0, 10, 25, 39], [0, 1, 2, 0], [0, 0, 1, 0], [1, 0, 1, 0])
    (window,), stats = grids([packet], Sensor(3, 2), bins=5, bin_us=8)
    expected = np.zeros((5, 2, 3))
    expected[0, 0, 0] = 1  # at node 0
    expected[1, 0, 1] = -1  # 10 of 40 us: at node 1
    expected[2:4, 1, 2] = 0.5, 0.5  # half way from node 2 to 3
    expected[3:5, 0, 0] = -0.1, -0.9
    np.testing.assert_allclose(window.counts, expected, atol=1e-7)
    assert window.counts.dtype == np.float32
    assert window.counts.flags.c_contiguous
    assert (window.t_start_us, window.t_end_us, window.events) == (0, 40, 4)
    assert stats == HistogramStats(received=4, binned=4)


@given(st.data(), settings())
def test_equals_the_slow_twin_however_the_packets_are_cut(data, keywords):
    packet = data.draw(events(beyond=3))
    bins, bin_us, start_us = (keywords.pop(name) for name in ("bins", "bin_us", "start_us"))
    del keywords["hop"]
    parts = data.draw(cuts(packet))
    windows, stats = grids(parts, bins=bins, bin_us=bin_us, start_us=start_us, **keywords)
    for k, window in enumerate(windows):
        assert window.seq == k
        times = {"t_start_us": window.t_start_us, "t_end_us": window.t_end_us}
        expected = reference.voxel_grid(packet, nodes=bins, sensor=SENSOR, **times, **keywords)
        np.testing.assert_allclose(window.counts, expected, rtol=1e-5, atol=1e-4)
    assert sum(window.events for window in windows) == stats.binned
    assert stats.received == len(packet) == stats.binned + stats.late + stats.outside


@given(events(), st.integers(1, 6))
def test_the_polarities_of_all_events_are_in_the_grids(packet, bins):
    windows, _ = grids([packet], bins=bins, bin_us=10)
    total = sum(float(window.counts.sum(dtype=np.float64)) for window in windows)
    assert total == pytest.approx(np.count_nonzero(packet.p) - np.count_nonzero(~packet.p), abs=1e-3)


def test_windows_do_not_overlap_and_quiet_ones_are_empty():
    packet = EventPacket.of([0, 19, 60], [0, 0, 0], [0, 0, 0], [1, 1, 1])
    windows, _ = grids([packet], bins=2, bin_us=10)
    assert [(w.t_start_us, w.t_end_us, w.events) for w in windows] == [
        (0, 20, 2),
        (20, 40, 0),
        (40, 60, 0),
        (60, 80, 1),
    ]
    assert not windows[1].counts.any()
    first = windows[0].counts.copy()
    windows[1].counts[:] = 7  # every grid has its own memory
    np.testing.assert_array_equal(windows[0].counts, first)


def test_events_that_go_back_in_time_or_lie_outside_are_counted():
    packet = EventPacket.of([0, 25, 5, 30, 30], [0, 0, 0, SENSOR.width, 65_535], [0, 0, 0, 0, 65_535], [1] * 5)
    windows, stats = grids([packet], bins=2, bin_us=10)
    assert stats == HistogramStats(received=5, binned=2, late=1, outside=2)
    assert [w.events for w in windows] == [1, 1]
