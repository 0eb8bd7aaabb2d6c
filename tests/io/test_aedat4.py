"""Valid AEDAT4: round trips in five compressions, and other data among the events."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import reference_io as reference
from aedat4_files import EPOCH_US, INFORMATION, SENSOR, build, event_payload, read, rows, some_events, write
from hypothesis import given
from hypothesis import strategies as st

from eventveil.errors import EventFileError
from eventveil.io import open_events
from eventveil.io.formats.aedat4 import Aedat4Reader
from eventveil.io.formats.aedat4_writer import PACKET_EVENTS
from eventveil.io.formats.compression import COMPRESSIONS


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("start", [0, EPOCH_US])
def test_a_round_trip_is_exact(tmp_path, compression, start):
    events = some_events(700, start=start)
    packets, faults, source = read(write(tmp_path / "a.aedat4", [events[:300], events[300:]], compression))
    assert rows(packets) == reference.rows(events)
    assert [len(packet) for packet in packets] == [300, 400]
    assert (faults, source.sensor, source.format) == ([], SENSOR, "AEDAT4")
    assert source.metadata["compression"] == compression


@given(st.lists(st.integers(0, 40), max_size=5), st.sampled_from(COMPRESSIONS), st.integers(0, 9))
def test_packets_come_back_as_they_were_written(tmp_path_factory, sizes, compression, seed):
    events = some_events(sum(sizes), seed=seed)
    edges = np.cumsum([0, *sizes])
    parts = [events[a:b] for a, b in pairwise(edges)]
    packets, faults, _ = read(write(tmp_path_factory.mktemp("a") / "a.aedat4", parts, compression))
    assert rows(packets) == reference.rows(events)
    assert [len(packet) for packet in packets] == [size for size in sizes if size]
    assert faults == []


def test_a_long_packet_is_parted(tmp_path):
    events = some_events(PACKET_EVENTS + 1)
    packets, _, _ = read(write(tmp_path / "a.aedat4", [events]))
    assert [len(packet) for packet in packets] == [PACKET_EVENTS, 1]


def test_events_are_viewed_where_they_lie(tmp_path):
    with open_events(write(tmp_path / "a.aedat4", [some_events(100)])) as source:
        packet = next(source)
    assert packet.t.strides == packet.p.strides == (16,)
    assert packet.t.base is packet.x.base


def test_a_packet_outlives_its_source(tmp_path):
    path = write(tmp_path / "a.aedat4", [some_events(100), some_events(100, start=2 * EPOCH_US)])
    with open_events(path) as source:
        first = next(source)
        before = reference.rows(first)
        next(source)
    assert reference.rows(first) == before


def test_other_streams_are_counted_and_left_out(tmp_path):
    events = [(1, 2, 3, 1), (5, 19, 9, 0)]
    path = tmp_path / "a.aedat4"
    frame = (20).to_bytes(4, "little") + bytes(20)
    path.write_bytes(
        build((0, frame), (2, event_payload(events[:1])), (3, event_payload(events)), (4, frame), (0, frame))
        + build((2, event_payload(events[1:])))[len(build()) :]
    )
    packets, faults, source = read(path)
    assert rows(packets) == events
    assert faults == []
    assert source.skipped == {"frame packet": 2, "event stream 3 packet": 1, "trigger packet": 1}
    assert source.metadata["camera"] == "DAVIS_1"


def test_a_packet_without_events_is_skipped(tmp_path):
    path = tmp_path / "a.aedat4"
    no_field = bytes.fromhex("10000000 0c000000 45565453 04000400 04000000")
    path.write_bytes(build((2, no_field), (2, event_payload([])), (2, event_payload([(1, 2, 3, 1)]))))
    assert rows(read(path)[0]) == [(1, 2, 3, 1)]


def test_a_data_table_is_left_out(tmp_path):
    path = tmp_path / "a.aedat4"
    end = len(build((2, event_payload([(1, 2, 3, 1)]))))
    path.write_bytes(build((2, event_payload([(1, 2, 3, 1)])), table_at=end) + b"a table of any content")
    packets, faults, _ = read(path)
    assert (rows(packets), faults) == ([(1, 2, 3, 1)], [])


def test_a_file_without_geometry_asks_for_it(tmp_path):
    path = tmp_path / "a.aedat4"
    path.write_bytes(build((2, event_payload([(1, 2, 3, 1)])), information=INFORMATION.replace("sizeX", "width")))
    with pytest.raises(EventFileError, match="--sensor WxH"):
        open_events(path)
    with open_events(path, sensor=SENSOR) as source:
        assert rows(source) == [(1, 2, 3, 1)]


def test_content_is_what_counts(tmp_path):
    path = write(tmp_path / "a.aedat4", [some_events(10)]).rename(tmp_path / "a.raw")
    assert len(rows(read(path)[0])) == 10
    assert Aedat4Reader.recognises(path.read_bytes()[:65_536])
