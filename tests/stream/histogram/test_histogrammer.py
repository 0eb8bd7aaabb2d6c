"""When windows start and end, by hand-made examples; the laws are in test_histogram_properties.py."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import reference_histogram as reference
from histogram_helpers import NOTHING, SENSOR, at, histogrammer, spans
from strategies import records, timed

from eventveil import EventPacket, Sensor
from eventveil.errors import EventError
from eventveil.stream.histogram import HistogramStats, WindowedHistogrammer

pytestmark = pytest.mark.kernel


def test_one_window_by_hand():
    h = WindowedHistogrammer(SENSOR, bins=3, bin_us=100)
    packet = EventPacket.of([1000, 1099, 1100, 1299, 1300], [0, 3, 3, 1, 2], [0, 2, 2, 0, 1], [1, 0, 0, 1, 1])
    (window,) = h.push(packet)
    expected = np.zeros((3, 2, 3, 4), np.uint16)
    expected[0, 1, 0, 0] = 1
    expected[0, 0, 2, 3] = 1
    expected[1, 0, 2, 3] = 1
    expected[2, 1, 0, 1] = 1
    np.testing.assert_array_equal(window.counts, expected)
    assert window.counts.dtype == np.uint16
    assert (window.seq, window.t_start_us, window.t_end_us, window.events) == (0, 1000, 1300, 4)
    (rest,) = h.finish()
    assert (rest.seq, rest.t_start_us, rest.events, rest.counts[0, 1, 1, 2]) == (1, 1300, 1, 1)
    assert h.stats == HistogramStats(received=5, binned=5)


def test_bins_are_half_open():
    h = histogrammer()
    assert spans(h.push(at(0, 9, 10, 19))) == []
    assert spans(h.push(at(20))) == [(0, 0, 20, [2, 2])]
    assert spans(h.finish()) == [(1, 20, 40, [1, 0])]


def test_a_gap_gives_its_empty_windows():
    h = histogrammer()
    assert spans(h.push(at(0, 70))) == [(0, 0, 20, [1, 0]), (1, 20, 40, [0, 0]), (2, 40, 60, [0, 0])]
    assert spans(h.finish()) == [(3, 60, 80, [0, 1])]


def test_an_hour_of_silence_is_given_one_window_at_a_time():
    h = histogrammer(bin_us=100_000)
    windows = h.push(at(0, 3_600_000_000))
    assert h.stats.received == 1  # the second event waits until the windows before it are taken
    assert [w.seq for w in itertools.islice(windows, 3)] == [0, 1, 2]
    assert h.stats.received == 1
    assert sum(1 for _ in windows) == 18_000 - 3
    assert h.stats.received == 2


def test_overlapping_windows_share_their_bins():
    h = histogrammer(bins=3, hop=1)
    assert spans(h.push(at(0, 10, 11, 25, 30, 59))) == [
        (0, 0, 30, [1, 2, 1]),
        (1, 10, 40, [2, 1, 1]),
        (2, 20, 50, [1, 1, 0]),
    ]
    assert spans(h.finish()) == [(3, 30, 60, [1, 0, 1])]


@pytest.mark.parametrize(
    ("first_us", "start_us"), [(0, 0), (1, 0), (19, 0), (20, 20), (-1, -20), (-20, -20), (2**61, 2**61 - 2**61 % 20)]
)
def test_on_a_grid_no_window_states_the_time_of_the_first_event(first_us, start_us):
    (window,) = histogrammer(grid_us=20).push(at(first_us, first_us + 20))
    assert (window.t_start_us, window.events) == (start_us, 1)


def test_start_us_sets_the_first_window():
    h = histogrammer(start_us=-40)
    assert spans(h.push(at(-41, -21, 0))) == [(0, -40, -20, [0, 1]), (1, -20, 0, [0, 0])]
    assert h.stats == HistogramStats(received=3, binned=2, late=1)


def test_a_windows_counts_are_its_own():
    for hop in (1, 2):
        h = histogrammer(hop=hop)
        (first,) = h.push(at(0, 20))
        before = first.counts.copy()
        first_again = first.counts
        later = [*h.push(at(21, 22, 90)), *h.finish()]
        np.testing.assert_array_equal(first_again, before)
        assert first.counts.flags.c_contiguous
        assert first.counts.flags.writeable
        assert not any(np.shares_memory(a.counts, b.counts) for a, b in itertools.combinations([first, *later], 2))


@pytest.mark.parametrize("n", [1, 127, 128, 129, 255, 256, 257, 400])
@pytest.mark.parametrize("bin_us", [1, 64, 128, 129])
@pytest.mark.parametrize("layout", [lambda packet: packet, records], ids=["columns", "records"])
def test_bins_may_end_anywhere_in_a_block(n, bin_us, layout):
    packet = EventPacket.of(np.arange(n), np.arange(n) % 5, np.arange(n) % 3, np.arange(n) % 2)
    twin = reference.Histogrammer(sensor=SENSOR, bins=2, bin_us=bin_us)
    twin.push(packet)
    twin.finish()
    h = histogrammer(bin_us=bin_us)
    windows = [*h.push(layout(packet)), *h.finish()]
    assert len(windows) == len(twin.windows)
    for window, expected in zip(windows, twin.windows, strict=True):
        np.testing.assert_array_equal(window.counts, expected[3])
    assert dataclasses.asdict(h.stats) == vars(twin.stats)


# --- time that passes without events ---


def test_passing_time_closes_windows():
    h = histogrammer()
    list(h.push(at(5)))
    assert spans(h.push(EventPacket.empty(until_us=24))) == []
    assert spans(h.push(EventPacket.empty(until_us=25))) == [(0, 5, 25, [1, 0])]
    assert spans(h.push(EventPacket.empty(until_us=65))) == [(1, 25, 45, [0, 0]), (2, 45, 65, [0, 0])]
    assert spans(h.finish()) == []


def test_passing_time_closes_windows_after_the_packets_own_events():
    assert spans(histogrammer().push(timed(at(0, 21), 40))) == [(0, 0, 20, [1, 0]), (1, 20, 40, [1, 0])]


def test_passing_time_starts_nothing_before_the_first_event():
    h = histogrammer()
    assert spans(h.push(EventPacket.empty(until_us=1_000))) == []
    list(h.push(at(1_005)))
    assert spans(h.finish()) == [(0, 1_005, 1_025, [1, 0])]


def test_passing_time_runs_from_start_us():
    assert spans(histogrammer(start_us=0).push(EventPacket.empty(until_us=20))) == [(0, 0, 20, [0, 0])]


# --- windows that are not taken ---


def test_a_packet_is_binned_even_if_nobody_asks_for_windows():
    h = histogrammer()
    h.push(at(0, 1, 2))
    h.push(at(3))
    assert h.stats.binned == 4


def test_pushing_before_all_windows_are_taken_is_refused_and_loses_nothing():
    h = histogrammer()
    windows = h.push(at(0, 20, 40))
    next(windows)
    with pytest.raises(EventError, match="take them all"):
        h.push(at(41))
    assert spans(windows) == [(1, 20, 40, [1, 0])]
    assert spans(h.push(at(41))) == []
    assert spans(h.finish()) == [(2, 40, 60, [2, 0])]


def test_the_last_window_taken_is_enough():
    h = histogrammer()
    next(h.push(at(0, 20)))  # the iterator is not exhausted
    h.push(at(21))
    assert h.stats.binned == 3


def test_finish_goes_on_where_the_taking_broke_off():
    h = histogrammer()
    for _ in h.push(at(0, 20, 40)):
        break
    assert spans(h.finish()) == [(1, 20, 40, [1, 0]), (2, 40, 60, [1, 0])]


# --- finish ---


def test_finish_gives_the_open_window_once():
    h = histogrammer(bins=4, hop=1)
    list(h.push(at(0)))
    assert spans(h.finish()) == [(0, 0, 40, [1, 0, 0, 0])]
    assert spans(h.finish()) == []
    with pytest.raises(EventError, match="new WindowedHistogrammer"):
        h.push(at(1))


def test_finish_of_nothing_is_nothing():
    h = histogrammer()
    assert spans(h.push(NOTHING)) == spans(h.finish()) == []
    assert spans(histogrammer(start_us=0).finish()) == []


def test_finish_leaves_out_a_window_whose_events_have_all_been_seen():
    h = histogrammer(bins=2, hop=1)
    assert spans(h.push(timed(at(0, 10), 20))) == [(0, 0, 20, [1, 1])]
    assert spans(h.finish()) == []  # bin 1 is still in the ring, but window 0 contained it


def test_finish_gives_a_late_comer_that_only_the_open_window_holds():
    h = histogrammer(bins=2, hop=1)
    assert spans(h.push(timed(at(0, 10), 20))) == [(0, 0, 20, [1, 1])]
    list(h.push(at(15)))  # its bin is still open, though a window with this bin has been returned
    assert spans(h.finish()) == [(1, 10, 30, [2, 0])]


def test_events_outside_alone_give_no_last_window():
    h = histogrammer()
    list(h.push(at(0, x=4)))
    assert spans(h.finish()) == []
    assert h.stats == HistogramStats(received=1, outside=1)


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_a_stop_leaves_out_the_windows_of_a_silence(taken):
    histogrammer = WindowedHistogrammer(Sensor(2, 2), bins=1, bin_us=100)
    windows = histogrammer.push(EventPacket.of([0, 3_600_000_000], [0, 1], [0, 1], [0, 1]))
    got = [next(windows) for _ in range(taken)] + list(histogrammer.stop())
    assert [window.events for window in got] == [1, 0, 0][: max(1, taken)]
    assert histogrammer.stats.binned == 1
    assert list(histogrammer.stop()) == []
