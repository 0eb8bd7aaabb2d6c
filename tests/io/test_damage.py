"""Damaged events cost themselves: alone in formats of one word per event, anywhere with on_damage="skip"."""

from __future__ import annotations

import lz4.frame
import numpy as np
import pytest
import reference_io
from all_formats import FORMATS
from recordings import assert_same, join, make_events, read_with_faults

from eventveil import EventPacket, Sensor
from eventveil.errors import EventError, EventFileError
from eventveil.io import open_events
from eventveil.io.formats.aedat4_writer import Aedat4Writer

SENSOR = Sensor(128, 128)
EVENTS = make_events(2_000, sensor=SENSOR)
# Formats that can place an event at column 200 of a sensor of 128, which the file names or the test states.
OFF = {"AEDAT3.1", "EVT2", "EVT2.1", "EVT3", "DAT", "N-Caltech101", "CSV"}


def with_off(events, places):
    x = events.x.copy()
    x[list(places)] = 200
    return EventPacket(events.t, x, events.y, events.p)


def make(folder, name, events):
    path = folder / f"a{FORMATS[name].suffix}"
    FORMATS[name].write(path, events, SENSOR)
    return path


def without(events, places):
    keep = np.ones(len(events), np.bool_)
    keep[list(places)] = False
    return EventPacket(*(getattr(events, field)[keep] for field in "txyp"))


@pytest.mark.parametrize("name", sorted(OFF))
def test_an_isolated_event_off_the_sensor_is_left_out_alone(tmp_path, name):
    places = [7, 700]
    with open_events(make(tmp_path, name, with_off(EVENTS, places)), sensor=SENSOR) as source:
        got = join(source)
        assert source.skipped["event off the sensor"] == len(places)
    assert_same(got, without(EVENTS, places))


def test_an_impossible_event_of_a_davis240_costs_itself(tmp_path):
    """The case of the report: one event of 60,000 at x=345, y=306, which wrap to impossible ones on either side."""
    sensor = Sensor(240, 180)
    events = make_events(60_000, sensor=sensor)
    words = [
        (reference_io.davis_address(sensor, x, y, int(p)), t)
        for t, x, y, p in zip(*(getattr(events, field).tolist() for field in "txyp"), strict=True)
    ]
    words[100] = (306 << 22 | 345 << 12, words[100][1])
    (tmp_path / "a.aedat").write_bytes(reference_io.aedat2("DAVIS240C", words))
    with open_events(tmp_path / "a.aedat") as source:
        assert_same(join(source), without(events, [100]))
        assert source.skipped == {"event off the sensor": 1}


@pytest.mark.parametrize("name", sorted(OFF))
def test_a_wrong_sensor_is_still_an_error(tmp_path, name):
    path = make(tmp_path, name, with_off(EVENTS, range(0, 2_000, 20)))  # five of a hundred
    with open_events(path, sensor=SENSOR) as source, pytest.raises(EventFileError, match="outside the sensor"):
        join(source)


@pytest.mark.parametrize("name", sorted(OFF))
def test_skip_leaves_out_many(tmp_path, name):
    places = range(0, 2_000, 20)
    path = make(tmp_path, name, with_off(EVENTS, places))
    with open_events(path, sensor=SENSOR, on_damage="skip") as source:
        assert_same(join(source), without(EVENTS, places))


def test_skip_goes_on_after_a_damaged_packet_of_aedat4(tmp_path):
    with Aedat4Writer(tmp_path / "a.aedat4", SENSOR) as writer:
        for start in range(0, 2_000, 500):
            writer.write(EVENTS[start : start + 500])
    data = bytearray((tmp_path / "a.aedat4").read_bytes())
    frames = [k for k in range(len(data)) if data[k : k + 4] == lz4.frame.compress(b"")[:4]]
    data[frames[1] + 40] ^= 0xFF
    (tmp_path / "a.aedat4").write_bytes(data)
    with open_events(tmp_path / "a.aedat4") as source:
        got, faults = read_with_faults(source)
    assert len(faults) == 1
    assert "--on-damage skip" in str(faults[0])
    with open_events(tmp_path / "a.aedat4", on_damage="skip") as source:
        assert_same(join(source), got)
        assert source.skipped == {"damaged packet": 1}
    assert_same(got, without(EVENTS, range(500, 1_000)))


@pytest.mark.parametrize("name", ["DAT", "EVT2", "AEDAT2", "AEDAT4", "AEDAT3.1", "NPY"])
def test_skip_ends_where_a_file_was_cut_off(tmp_path, name):
    path = make(tmp_path, name, EVENTS)
    path.write_bytes(path.read_bytes()[:-3])
    with open_events(path, sensor=SENSOR, on_damage="skip") as source:
        got = join(source)
        assert source.skipped["rest of a damaged file"] == 1
    assert_same(got, EVENTS[: len(got)])
    assert len(got) >= 1_900


def test_a_file_of_nothing_but_damage_is_an_error_all_the_same(tmp_path):
    path = make(tmp_path, "CSV", with_off(EVENTS, range(2_000)))
    with open_events(path, sensor=SENSOR, on_damage="skip") as source, pytest.raises(EventFileError, match="outside"):
        join(source)


def test_disorder_is_not_damage(tmp_path):
    t = EVENTS.t.copy()
    t[1_000] += 900_000
    path = make(tmp_path, "NPY", EventPacket(t, EVENTS.x, EVENTS.y, EVENTS.p))
    with open_events(path, sensor=SENSOR, on_damage="skip") as source, pytest.raises(EventFileError, match="goes back"):
        join(source)


def test_another_word_is_refused(tmp_path):
    with pytest.raises(EventError, match="expected on_damage as one of stop, skip, got 'ignore'"):
        open_events(make(tmp_path, "CSV", EVENTS), on_damage="ignore")
