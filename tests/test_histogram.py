"""The histogrammer by hand-made examples, edges and misuse; its laws are in test_histogram_properties.py."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys

import numpy as np
import pytest
import reference_histogram as reference
from strategies import records, timed
from tonic.transforms import ToFrame

from eventveil import EventPacket, Sensor
from eventveil.errors import EventError
from eventveil.stream.histogram import HistogramStats, WindowedHistogrammer

pytestmark = pytest.mark.kernel

SENSOR = Sensor(4, 3)
NOTHING = EventPacket.empty()


def at(*times, x=0, y=0, p=True):
    """Events of one pixel at these times."""
    n = len(times)
    return EventPacket.of(times, [x] * n, [y] * n, [p] * n)


def histogrammer(**keywords):
    return WindowedHistogrammer(SENSOR, **({"bins": 2, "bin_us": 10} | keywords))


def spans(windows):
    return [(w.seq, w.t_start_us, w.t_end_us, w.counts.sum(axis=(1, 2, 3)).tolist()) for w in windows]


def random_packet(seed, n, sensor=SENSOR, duration_us=1_000):
    rng = np.random.default_rng(seed)
    return EventPacket.of(
        np.sort(rng.integers(0, duration_us, n)),
        rng.integers(0, sensor.width, n),
        rng.integers(0, sensor.height, n),
        rng.random(n) < 0.4,
    )


# --- windows ---


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
    h = histogrammer(bin_us=25_000)
    windows = h.push(at(0, 3_600_000_000))
    assert h.stats.received == 1  # the second event waits until its windows are asked for
    assert [w.seq for w in itertools.islice(windows, 3)] == [0, 1, 2]
    assert h.stats.received == 1
    assert sum(1 for _ in windows) == 72_000 - 3
    assert h.stats.received == 2


def test_overlapping_windows_share_their_bins():
    h = histogrammer(bins=3, hop=1)
    assert spans(h.push(at(0, 10, 11, 25, 30, 59))) == [
        (0, 0, 30, [1, 2, 1]),
        (1, 10, 40, [2, 1, 1]),
        (2, 20, 50, [1, 1, 0]),
    ]
    assert spans(h.finish()) == [(3, 30, 60, [1, 0, 1])]


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


def test_passing_time_closes_windows_behind_the_packets_own_events():
    assert spans(histogrammer().push(timed(at(0, 21), 40))) == [(0, 0, 20, [1, 0]), (1, 20, 40, [1, 0])]


def test_passing_time_starts_nothing_before_the_first_event():
    h = histogrammer()
    assert spans(h.push(EventPacket.empty(until_us=1_000))) == []
    list(h.push(at(1_005)))
    assert spans(h.finish()) == [(0, 1_005, 1_025, [1, 0])]


def test_passing_time_runs_from_start_us():
    assert spans(histogrammer(start_us=0).push(EventPacket.empty(until_us=20))) == [(0, 0, 20, [0, 0])]


# --- windows that nobody takes ---


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
    next(h.push(at(0, 20)))  # the iterator is not asked again
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
    assert spans(h.finish()) == []  # bin 1 is still in the ring, but window 0 held it


def test_finish_gives_a_late_comer_that_only_the_open_window_holds():
    h = histogrammer(bins=2, hop=1)
    assert spans(h.push(timed(at(0, 10), 20))) == [(0, 0, 20, [1, 1])]
    list(h.push(at(15)))  # its bin is open still, though a window with it has been given out
    assert spans(h.finish()) == [(1, 10, 30, [2, 0])]


def test_events_outside_alone_give_no_last_window():
    h = histogrammer()
    list(h.push(at(0, x=4)))
    assert spans(h.finish()) == []
    assert h.stats == HistogramStats(received=1, outside=1)


# --- whatever comes in ---


def test_events_that_go_back_in_time_are_binned_or_late():
    h = histogrammer()
    assert spans(h.push(at(0, 19, 3, 20, 19, 39, 21))) == [(0, 0, 20, [2, 1])]
    assert spans(h.finish()) == [(1, 20, 40, [2, 1])]
    assert h.stats == HistogramStats(received=7, binned=6, late=1)


def test_pixels_at_and_beyond_every_edge():
    h = histogrammer()
    x, y = np.meshgrid([0, 3, 4, 65_535], [0, 2, 3, 65_535])
    list(h.push(EventPacket.of(np.zeros(16), x.ravel(), y.ravel(), np.ones(16))))
    (window,) = h.finish()
    assert h.stats == HistogramStats(received=16, binned=4, outside=12)
    assert window.counts[0, 1][[0, 0, 2, 2], [0, 3, 0, 3]].tolist() == [1, 1, 1, 1]
    assert window.counts.sum() == 4


@pytest.mark.parametrize("layout", [lambda packet: packet, records], ids=["columns", "records"])
def test_a_crop_keeps_exactly_its_pixels(layout):
    h = histogrammer(crop=(1, 1, 2, 1))
    for x, y in itertools.product([0, 1, 2, 3, 65_535], [0, 1, 2, 65_535]):  # alone, so that none hides another
        list(h.push(layout(at(0, 0, x=x, y=y))))  # twice, as a single event is contiguous in any layout
    (window,) = h.finish()
    assert h.stats == HistogramStats(received=40, binned=4, outside=36)
    assert window.counts[0, 1].tolist() == [[2, 2]]


def test_counts_stop_at_their_maximum():
    h = histogrammer()
    list(h.push(at(*[0] * 65_534)))
    assert h.stats.saturated == 0
    list(h.push(at(0, 0, 0)))
    (window,) = h.finish()
    assert window.counts[0, 1, 0, 0] == 65_535
    assert (window.events, h.stats) == (65_537, HistogramStats(received=65_537, binned=65_537, saturated=2))


def test_polarities_that_are_no_clean_booleans_are_on():
    h = histogrammer()
    p = np.array([0, 1, 2, 255], np.uint8).view(np.bool_)
    list(h.push(EventPacket(np.zeros(4, np.int64), np.zeros(4, np.uint16), np.zeros(4, np.uint16), p)))
    (window,) = h.finish()
    assert window.counts[0, :, 0, 0].tolist() == [1, 3]


@pytest.mark.parametrize("packed", [False, True])
def test_records_are_read_where_they_lie(packed):
    packet = random_packet(1, 500)
    plain, other = histogrammer(), histogrammer()
    for a, b in zip(plain.push(packet), other.push(records(packet, packed=packed)), strict=True):
        np.testing.assert_array_equal(a.counts, b.counts)
    assert plain.stats == other.stats


def test_the_ends_of_time_are_refused_or_late_but_never_wrap():
    last = np.iinfo(np.int64).max
    h = histogrammer()
    with pytest.raises(EventError, match="time unit") as refusal:
        h.push(at(last))
    assert str(last) not in str(refusal.value)  # no event's data in a message
    assert h.stats == HistogramStats()
    list(h.push(at(0, -last - 1)))
    assert h.stats == HistogramStats(received=2, binned=1, late=1)
    windows = h.push(at(last))
    assert [w.seq for w in itertools.islice(windows, 3)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        ({"bin_us": None}, "bin_us"),
        ({"bin_us": 0}, "bin_us"),
        ({"bin_us": 2.5}, "whole number"),
        ({"bin_us": 2**40}, "bin_us"),
        ({"bins": 0}, "bins"),
        ({"hop": 0}, "hop"),
        ({"hop": 3}, "hop"),
        ({"start_us": 2**63}, "start_us"),
        ({"mode": "frames"}, "windows, recording or voxel"),
        ({"mode": "voxel", "hop": 1}, "overlap"),
        ({"mode": "recording"}, "bin_us"),
        ({"mode": "recording", "bin_us": None, "hop": 1}, "hop"),
        ({"mode": "recording", "bin_us": None, "start_us": 0}, "start_us"),
        ({"size": (5, 3)}, "4x3"),
        ({"size": (4, 0)}, "1x1"),
        ({"size": (3, 2), "crop": (0, 0, 2, 2)}, "2x2"),
        ({"crop": (1, 0, 4, 3)}, "inside the 4x3"),
        ({"crop": (0, 1, 4, 3)}, "inside the 4x3"),
        ({"crop": (-1, 0, 2, 2)}, "inside the 4x3"),
        ({"crop": (0, -1, 2, 2)}, "inside the 4x3"),
        ({"crop": (0, 0, 0, 1)}, "inside the 4x3"),
    ],
)
def test_bad_settings_say_what_is_expected(keywords, expected):
    with pytest.raises(EventError, match=expected):
        histogrammer(**keywords)


def test_more_cells_than_a_table_can_name_are_refused():
    with pytest.raises(EventError, match="set a size"):
        WindowedHistogrammer(Sensor(65_536, 65_536), bin_us=10)


def test_the_room_reaches_neither_zeromq_nor_torch():
    code = "import sys, eventveil.stream.histogram; sys.exit('zmq' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=100).returncode == 0


# --- recordings ---


def of_recording(packets, bins, sensor=SENSOR):
    h = WindowedHistogrammer(sensor, bins=bins, mode="recording")
    for packet in packets:
        assert list(h.push(packet)) == []
    return list(h.finish()), h.stats


def tonic_frames(packet, bins, sensor):
    table = np.zeros(len(packet), [("t", "<i8"), ("x", "<i8"), ("y", "<i8"), ("p", "<i8")])
    for name in "txyp":
        table[name] = getattr(packet, name)
    return ToFrame(sensor_size=(sensor.width, sensor.height, 2), n_time_bins=bins)(table)


@pytest.mark.parametrize("bins", [1, 3, 5, 8])
@pytest.mark.parametrize("duration_us", [1, 7, 40, 997])
def test_a_recording_equals_tonics_frames(bins, duration_us):
    packet = random_packet(bins, 400, duration_us=duration_us)
    (window,), stats = of_recording([packet[:130], NOTHING, packet[130:]], bins)
    np.testing.assert_array_equal(window.counts, tonic_frames(packet, bins, SENSOR))
    assert window.counts.dtype == np.uint16
    assert stats.received == 400 == stats.binned + stats.outside
    assert stats.binned == window.events == window.counts.sum()
    assert window.t_end_us - window.t_start_us == bins * int((packet.t[-1] - packet.t[0]) // bins)


@pytest.mark.parametrize("trial", range(10))
def test_a_gesture_equals_tonics_frames(real_data, trial):
    table = np.load(real_data / "dvs_gesture" / "ibmGestureTest" / "user00_unknown" / f"{trial}.npy")
    x, y, p, t = table.T
    packet = EventPacket.of(t, x, y, p)
    sensor = Sensor(128, 128)
    (window,), _ = of_recording([packet[:5_000], packet[5_000:]], 5, sensor)
    np.testing.assert_array_equal(window.counts, tonic_frames(packet, 5, sensor))


@pytest.mark.parametrize("trial", [0, 3, 9])
def test_a_gesture_in_microseconds_equals_tonics_frames(real_data, trial):
    table = np.load(real_data / "recordings" / f"dvs_gesture_class{trial}_us.npy")
    packet = EventPacket(*(table[name] for name in "txyp"))
    (window,), stats = of_recording([packet], 5, Sensor(128, 128))
    np.testing.assert_array_equal(window.counts, tonic_frames(packet, 5, Sensor(128, 128)))
    assert stats.received == len(packet)


def test_a_recording_too_short_to_divide_is_empty():
    (window,), stats = of_recording([at(7, 7, 9)], 5)
    assert (window.seq, window.t_start_us, window.t_end_us, window.events) == (0, 7, 7, 0)
    assert window.counts.shape == (5, 2, 3, 4)
    assert not window.counts.any()
    assert stats == HistogramStats(received=3, outside=3)


def test_a_recording_without_events_has_no_window():
    assert of_recording([NOTHING, EventPacket.empty(until_us=50)], 5) == ([], HistogramStats())


def test_a_recording_that_goes_back_in_time_is_still_accounted_for():
    (window,), stats = of_recording([at(10, 0, 31, 25), at(30)], 2)
    assert window.counts.sum(axis=(1, 2, 3)).tolist() == [1, 1]
    assert stats == HistogramStats(received=5, binned=2, late=1, outside=2)
    _, stats = of_recording([at(10, 0)], 2)
    assert stats == HistogramStats(received=2, late=1, outside=1)


def test_a_recording_of_impossible_length_is_refused():
    for times in ((0, 2**41), (2**62 + 1, 2**62 + 9)):
        with pytest.raises(EventError, match="recording of at most"):
            of_recording([at(*times)], 2)
