"""Written EVT3 reads back unchanged, and events that its words cannot hold are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_evt import read_all, tuples

from eventveil.errors import EventError, EventFileError
from eventveil.events import EventPacket, Sensor
from eventveil.io.formats.evt3 import Evt3Reader
from eventveil.io.formats.evt3_writer import Evt3Writer

packets = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 4095, 4096, 1 << 23, (1 << 23) + 4095, 1 << 24, 1 << 30]),
        st.integers(0, 1279),
        st.integers(0, 719),
        st.booleans(),
    ),
    min_size=1,
    max_size=30,
)


@pytest.mark.kernel
@given(packets, st.sampled_from([0, 5, 1_600_000_000_000_000, -7]), st.integers(0, 30))
def test_what_is_written_comes_back(tmp_path_factory, steps, start, cut):
    t = start + np.cumsum([0] + [step for step, *_ in steps[1:]])
    packet = EventPacket.of(t, *zip(*(rest for _, *rest in steps), strict=True))
    path = tmp_path_factory.mktemp("evt3") / "a.raw"
    with Evt3Writer(path, Sensor(1280, 720)) as writer:
        writer.write(packet[:cut])
        writer.write(packet[cut:])
    reader = Evt3Reader(path)
    assert reader.sensor == Sensor(1280, 720)
    assert read_all(reader) == tuples(packet)
    reader.close()


@pytest.mark.kernel
def test_writes_a_recording_without_events(tmp_path):
    with Evt3Writer(tmp_path / "a.raw", Sensor(64, 48)):
        pass
    reader = Evt3Reader(tmp_path / "a.raw")
    assert (reader.sensor, reader.read_packet()) == (Sensor(64, 48), None)
    reader.close()


def write_events(path, sensor: Sensor, *packets: EventPacket) -> None:
    with Evt3Writer(path, sensor) as writer:
        for packet in packets:
            writer.write(packet)


@pytest.mark.kernel
def test_refuses_what_its_words_cannot_hold(tmp_path):
    path, largest = tmp_path / "a.raw", Sensor(2048, 2048)
    now = 1_600_000_000_000_000
    with pytest.raises(EventFileError, match="2048x2048"):
        write_events(path, Sensor(2049, 10))
    with pytest.raises(EventFileError, match="longer gap"):
        write_events(path, largest, EventPacket.of([0, now], [0, 1], [0, 1], [0, 1]))
    with pytest.raises(EventFileError, match="longer gap"):
        write_events(path, largest, EventPacket.of([0], [0], [0], [0]), EventPacket.of([now], [1], [1], [1]))
    with pytest.raises(EventError, match="outside"):
        write_events(path, Sensor(10, 10), EventPacket.of([0], [10], [0], [0]))
    assert not list(tmp_path.iterdir())
