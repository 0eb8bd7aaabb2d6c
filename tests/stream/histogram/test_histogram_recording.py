"""Windows of whole recordings, compared with tonic's frames."""

from __future__ import annotations

import numpy as np
import pytest
from histogram_helpers import NOTHING, SENSOR, at, random_packet
from tonic.transforms import ToFrame

from eventveil import EventPacket, Sensor
from eventveil.errors import EventError
from eventveil.stream.histogram import HistogramStats, WindowedHistogrammer


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
