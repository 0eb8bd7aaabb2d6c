"""EVT3 compared with faery: real recordings, and files written here."""

from __future__ import annotations

import faery
import numpy as np
from reference_evt import read_columns

from eventveil.events import EventPacket, Sensor
from eventveil.io.formats.evt3 import Evt3Reader
from eventveil.io.formats.evt3_writer import Evt3Writer


def read_with_faery(path) -> EventPacket:
    array = np.concatenate(list(faery.events_stream_from_file(path)))
    return EventPacket.of(array["t"], array["x"], array["y"], array["on"])


def assert_same(got: EventPacket, expected: EventPacket) -> None:
    for name in "txyp":
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))


def test_another_reader_reads_what_is_written(tmp_path):
    rng = np.random.default_rng(5)
    t = 1_000_000 + np.cumsum(rng.choice([0, 0, 1, 50, 5000], 3000))
    packet = EventPacket.of(t, rng.integers(0, 1280, 3000), rng.integers(0, 720, 3000), rng.integers(0, 2, 3000))
    with Evt3Writer(tmp_path / "a.raw", Sensor(1280, 720)) as writer:
        writer.write(packet)
    assert_same(read_with_faery(tmp_path / "a.raw"), packet)


def test_a_recording_of_an_evk3(real_data):
    path = real_data / "recordings" / "expelliarmus_evt3_sample.raw"
    reader = Evt3Reader(path)
    packet = read_columns(reader)
    reader.close()
    assert reader.sensor is None
    assert len(packet) == 219_596
    assert packet.t[-1] - packet.t[0] == 8_801
    assert not reader.skipped
    assert (np.diff(packet.t) >= 0).all()
    # This camera sets its clock back by up to 11 us, between events. faery then stops the clock, and dates the
    # following events too late.
    other = read_with_faery(path)
    late = other.t - packet.t
    assert (late.min(), late.max(), np.count_nonzero(late)) == (0, 11, 1455)
    assert_same(EventPacket(packet.t + late, packet.x, packet.y, packet.p), other)


def test_a_recording_with_triggers(real_data):
    path = real_data / "recordings" / "derived_test_data_evt3_trigger_0.raw"
    reader = Evt3Reader(path)
    packet = read_columns(reader)
    reader.close()
    assert reader.sensor == Sensor(1280, 720)
    assert len(packet) == 82_469
    assert reader.skipped == {"external trigger": 2, "system event": 15_688, "continuation word": 37_536}
    assert_same(packet, read_with_faery(path))
