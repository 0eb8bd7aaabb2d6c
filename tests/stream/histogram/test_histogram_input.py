"""Input of the histogrammer: events at every edge, and misuse."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from histogram_helpers import at, histogrammer, random_packet, spans
from strategies import records

from eventveil import EventPacket, Sensor
from eventveil.errors import EventError
from eventveil.stream.histogram import HistogramStats, WindowedHistogrammer

pytestmark = pytest.mark.kernel


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
    for x, y in itertools.product([0, 1, 2, 3, 65_535], [0, 1, 2, 65_535]):  # one at a time, so that none hides another
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


def test_polarities_that_are_not_clean_booleans_are_on():
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
    assert str(last) not in str(refusal.value)  # messages contain no event data
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
        ({"mode": "recording", "bin_us": None, "grid_us": 10}, "grid_us"),
        ({"grid_us": 0}, "grid_us"),
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
