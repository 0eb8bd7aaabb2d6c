"""AEDAT4: real recordings, five compressions, round trips, and damage of every kind."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
import reference_io as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from eventveil.errors import EventFileError
from eventveil.events import EventPacket, Sensor
from eventveil.io import aedat4, flatbuffer, open_events
from eventveil.io.aedat4 import MAGIC, PACKET, Aedat4Reader
from eventveil.io.aedat4_writer import PACKET_EVENTS, Aedat4Writer
from eventveil.io.compression import COMPRESSIONS, MAX_BYTES, Decompressor, compress

SENSOR = Sensor(20, 10)
EPOCH_US = 1_700_000_000_000_000
INFORMATION = """<dv version="2.0"><node name="outInfo" path="/a/outInfo/">
<node name="0"><attr key="typeIdentifier" type="string">FRME</attr></node>
<node name="2"><attr key="typeIdentifier" type="string">EVTS</attr>
<node name="info"><attr key="sizeX" type="int">20</attr><attr key="sizeY" type="int">10</attr>
<attr key="source" type="string">DAVIS_1</attr></node></node>
<node name="3"><attr key="typeIdentifier" type="string">EVTS</attr></node>
<node name="4"><attr key="typeIdentifier" type="string">TRIG</attr></node></node></dv>"""


def some_events(n, *, start=EPOCH_US, seed=0):
    rng = np.random.default_rng(seed)
    t = start + np.sort(rng.integers(0, 50 * n, n))
    return EventPacket.of(t, rng.integers(0, 20, n), rng.integers(0, 10, n), rng.integers(0, 2, n))


def write(path, packets, compression="LZ4"):
    with Aedat4Writer(path, SENSOR, compression) as writer:
        for packet in packets:
            writer.write(packet)
    return path


def read(path):
    """Everything that can be read, and every fault on the way."""
    packets, faults = [], []
    with open_events(path) as source:
        while True:
            try:
                packets.append(next(source))
            except StopIteration:
                return packets, faults, source
            except EventFileError as fault:
                faults.append(fault)


def rows(packets):
    return [row for packet in packets for row in reference.rows(packet)]


def places(data):
    """Where each packet of an AEDAT4 file begins."""
    at = len(MAGIC) + 4 + int.from_bytes(data[len(MAGIC) : len(MAGIC) + 4], "little")
    found = []
    while at < len(data):
        found.append(at)
        at += PACKET.size + PACKET.unpack_from(data, at)[1]
    return found


def event_payload(events, compression="NONE"):
    records = b"".join(
        t.to_bytes(8, "little") + x.to_bytes(2, "little") + y.to_bytes(2, "little") + bytes([p, 0, 0, 0])
        for t, x, y, p in events
    )
    return compress(flatbuffer.events_head(len(events)) + records, compression)


def build(*packets, compression=0, information=INFORMATION, table_at=-1):
    """A file of (stream, payload) packets."""
    head = MAGIC + flatbuffer.header(compression, information.encode())
    at = len(MAGIC) + flatbuffer.HEADER_TABLE_AT
    head = head[:at] + table_at.to_bytes(8, "little", signed=True) + head[at + 8 :]
    return head + b"".join(PACKET.pack(stream, len(payload)) + payload for stream, payload in packets)


# What is good --------------------------------------------------------------------------------------------------------


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


def test_a_packet_without_events_is_none(tmp_path):
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


# What is damaged -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"), [("EVTS", "FRME"), ("</dv>", ""), ('name="2"', 'name="two"'), (">20<", ">0<"), (">20<", ">x<")]
)
def test_a_wrong_description_is_refused(tmp_path, old, new):
    path = tmp_path / "a.aedat4"
    path.write_bytes(build((2, event_payload([(1, 2, 3, 1)])), information=INFORMATION.replace(old, new)))
    with pytest.raises(EventFileError) as refusal:
        open_events(path)
    assert refusal.value.format == "AEDAT4"


@pytest.mark.parametrize(("compression", "table_at"), [(5, -1), (-1, -1), (0, 20)])
def test_a_wrong_header_is_refused(tmp_path, compression, table_at):
    path = tmp_path / "a.aedat4"
    path.write_bytes(build(compression=compression, table_at=table_at))
    with pytest.raises(EventFileError, match="AEDAT4"):
        open_events(path)


def test_a_header_cut_anywhere_is_refused(tmp_path):
    path = tmp_path / "a.aedat4"
    whole = build()
    for length in range(1, len(whole) - 4):  # the last bytes are padding behind the text
        path.write_bytes(whole[:length])
        with pytest.raises(EventFileError):
            open_events(path)


@pytest.mark.parametrize("compression", ["NONE", "LZ4", "ZSTD"])
def test_a_file_cut_anywhere_gives_its_whole_packets_and_says_so(tmp_path, compression):
    parts = [some_events(5, start=EPOCH_US + 1000 * k, seed=k) for k in range(3)]
    path = write(tmp_path / "a.aedat4", parts, compression)
    data = path.read_bytes()
    edges = [*places(data), len(data)]
    for length in range(edges[0], len(data) + 1):
        path.write_bytes(data[:length])
        packets, faults, _ = read(path)
        whole = sum(edge <= length for edge in edges[1:])
        assert rows(packets) == rows(parts[:whole])
        assert len(faults) == (length not in edges)
        assert all("truncated" in str(fault) and f"byte {edges[whole]}" in str(fault) for fault in faults)


@pytest.mark.parametrize("kept", [0, 1])
def test_a_cut_behind_a_packet_is_told_where_a_table_was_promised(tmp_path, kept):
    path = tmp_path / "a.aedat4"
    whole = build(*[(2, event_payload([(1, 2, 3, 1)]))] * kept, table_at=10_000)
    path.write_bytes(whole)
    packets, faults, _ = read(path)
    assert len(rows(packets)) == kept
    assert len(faults) == 1
    assert "truncated" in str(faults[0])
    assert f"byte {len(whole)}" in str(faults[0])


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_flipped_bit_costs_its_packet_only(tmp_path, compression):
    """Every byte of a packet, header and payload, has one of its bits flipped."""
    parts = [some_events(4, start=EPOCH_US + 1000 * k, seed=k) for k in range(4)]
    path = write(tmp_path / "a.aedat4", parts, compression)
    data = bytearray(path.read_bytes())
    begin, end = places(data)[1:3]
    if compression == "NONE":
        end -= 16  # but for the last event: without a checksum its time, far ahead, passes for true
    for at in range(begin, end):
        bit = 1 << (at % 8)
        data[at] ^= bit
        path.write_bytes(data)
        data[at] ^= bit
        packets, faults, source = read(path)
        got = rows(packets)
        assert got[:4] == rows(parts[:1])
        assert set(got) >= set(rows(parts[3:])), f"byte {at - begin} of the packet cost the packets behind it"
        assert len(got) >= 8
        if compression != "NONE" and at >= begin + PACKET.size:  # the checksum of a frame finds every flip
            assert got in (rows(parts), rows([parts[0], *parts[2:]]))
        assert all(fault.recoverable for fault in faults)
        assert faults or source.skipped or len(got) == 16


@pytest.mark.parametrize("compression", ["LZ4", "LZ4_HIGH", "ZSTD", "ZSTD_HIGH"])
def test_a_cut_frame_does_not_decompress(compression):
    whole = event_payload(reference.rows(some_events(30)), compression)
    for length in range(len(whole)):
        with pytest.raises(ValueError, match="does not decompress"):
            Decompressor(compression).decompress(whole[:length])


def test_a_cut_table_is_not_read_past_its_end():
    whole = event_payload([(1, 2, 3, 1), (4, 5, 6, 0)])
    for length in range(len(whole)):
        with pytest.raises(ValueError, match="buffer"):
            flatbuffer.Table(whole[:length]).vector(0, 16)
    assert flatbuffer.Table(whole).vector(0, 16) == (32, 2)


@pytest.mark.parametrize("block", [21, 22, 23, 24])
def test_a_packet_is_found_behind_one_whose_size_is_wrong(tmp_path, monkeypatch, block):
    """Wherever the packet lies across the blocks of the search."""
    monkeypatch.setattr(aedat4, "BLOCK", block)
    frame = (76).to_bytes(4, "little") + bytes(76)
    first, second, third = ((2, event_payload([(k, 1, 1, 1)])) for k in range(3))
    data = bytearray(build(first, (0, frame), second, third))
    size_at = places(data)[1] + 4
    data[size_at : size_at + 4] = (80 + 60).to_bytes(4, "little")  # into the middle of the third
    (tmp_path / "a.aedat4").write_bytes(data)
    packets, faults, _ = read(tmp_path / "a.aedat4")
    assert [row[0] for row in rows(packets)] == [0, 1, 2]
    assert [fault.recoverable for fault in faults] == [True]


def test_events_that_are_not_aligned_are_damage(tmp_path):
    """No writer makes them, and no kernel downstream has to take them."""
    payload = event_payload([(1, 2, 3, 1)])
    shifted = payload[:24] + (5).to_bytes(4, "little") + b"\0" + payload[28:]
    (tmp_path / "a.aedat4").write_bytes(build((2, shifted), (2, payload)))
    packets, faults, _ = read(tmp_path / "a.aedat4")
    assert rows(packets) == [(1, 2, 3, 1)]
    assert [fault.recoverable for fault in faults] == [True]


def test_a_last_event_far_ahead_makes_faults_of_what_follows_and_never_disorder(tmp_path):
    parts = [some_events(4, start=EPOCH_US + 1000 * k, seed=k) for k in range(4)]
    data = bytearray(write(tmp_path / "a.aedat4", parts, "NONE").read_bytes())
    data[places(data)[2] - 16 + 5] ^= 1  # the time of the last event in the second packet
    (tmp_path / "a.aedat4").write_bytes(data)
    packets, faults, source = read(tmp_path / "a.aedat4")
    assert rows(packets)[:7] == rows(parts)[:7]
    assert len(rows(packets)) == 8
    assert [("time goes back" in str(fault), fault.recoverable) for fault in faults] == [(True, True)] * 2
    assert source.skipped == {"event of a damaged packet": 8}


@settings(max_examples=150)
@given(st.data())
def test_damage_never_does_worse_than_a_fault(tmp_path_factory, data):
    compression = data.draw(st.sampled_from(COMPRESSIONS))
    path = tmp_path_factory.mktemp("a") / "a.aedat4"
    damaged = bytearray(
        write(path, [some_events(6, seed=k, start=1000 * k) for k in range(3)], compression).read_bytes()
    )
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(damaged) - 1), st.integers(0, 255)), max_size=4)):
        damaged[at] = value
    path.write_bytes(damaged[: data.draw(st.integers(1, len(damaged)))])
    try:
        packets, _, source = read(path)
    except EventFileError:
        return
    t = [row[0] for row in rows(packets)]
    assert t == sorted(t)
    assert all(x < source.sensor.width and y < source.sensor.height for _, x, y, _ in rows(packets))


@pytest.mark.parametrize("compression", ["LZ4", "ZSTD"])
def test_a_packet_that_would_fill_the_memory_is_refused(tmp_path, compression):
    path = tmp_path / "a.aedat4"
    bomb = compress(bytes(4 * MAX_BYTES), compression)
    path.write_bytes(
        build((2, bomb), (2, event_payload([(1, 2, 3, 1)], compression)), compression=COMPRESSIONS.index(compression))
    )
    tracemalloc.start()
    packets, faults, _ = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows(packets) == [(1, 2, 3, 1)]
    assert [fault.recoverable for fault in faults] == [True]
    assert peak < 2 * MAX_BYTES


def test_a_size_of_gigabytes_is_not_allocated(tmp_path):
    path = tmp_path / "a.aedat4"
    path.write_bytes(build() + PACKET.pack(2, 2**31 - 1) + b"short")
    tracemalloc.start()
    _, faults, _ = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(faults) == 1
    assert peak < 1 << 22


def test_a_header_of_gigabytes_is_not_allocated(tmp_path):
    path = tmp_path / "a.aedat4"
    with path.open("wb") as file:
        file.write(MAGIC + (MAX_BYTES + 1).to_bytes(4, "little"))
        file.truncate(2 * MAX_BYTES)  # a file with a hole, which takes no room
    tracemalloc.start()
    with pytest.raises(EventFileError, match="header"):
        open_events(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 22


# Others --------------------------------------------------------------------------------------------------------------

FACTS = {
    "aestream_davis": (Sensor(346, 260), 117_667, 0.13),
    "tonic_sample": (Sensor(320, 240), 111_954, 0.59),
    "tonic_sample_none": (Sensor(320, 240), 41_373, None),
    "tonic_sample_zstd": (Sensor(320, 240), 41_373, None),
}

DV_READS = """
import sys, numpy as np, dv_processing as dv
reader = dv.io.MonoCameraRecording(sys.argv[1])
batches = []
while True:
    batch = reader.getNextEventBatch()
    if batch is not None:
        batches.append(batch.numpy())
    elif not reader.isRunning("events"):
        break
events = np.concatenate(batches)
columns = [events[name].astype(np.int64) for name in ("timestamp", "x", "y", "polarity")]
np.save(sys.argv[2], np.stack([*columns, np.full(len(events), reader.getEventResolution()[0])]))
"""


def columns_of(packets):
    return np.stack([np.concatenate([getattr(packet, name) for packet in packets]).astype(np.int64) for name in "txyp"])


def as_dv_reads(path, tmp_path):
    """In a process of its own, because dv-processing freezes the interpreter where it does not like a packet."""
    pytest.importorskip("dv_processing")
    out = tmp_path / "dv.npy"
    subprocess.run([sys.executable, "-c", DV_READS, str(path), str(out)], check=True, timeout=60)
    return np.load(out)


def as_faery_reads(path):
    faery = pytest.importorskip("faery")
    events = np.concatenate(list(faery.events_stream_from_file(path)))
    return np.stack([events[name].astype(np.int64) for name in ("t", "x", "y", "on")])


@pytest.mark.parametrize("name", FACTS)
def test_real_recordings_are_read_as_others_read_them(real_data, tmp_path, name):
    path = real_data / "recordings" / f"{name}.aedat4"
    sensor, count, seconds = FACTS[name]
    packets, faults, source = read(path)
    events = columns_of(packets)
    assert (source.sensor, events.shape[1], faults) == (sensor, count, [])
    if seconds:
        assert round((events[0, -1] - events[0, 0]) / 1e6, 2) == seconds
    np.testing.assert_array_equal(events, as_dv_reads(path, tmp_path)[:4])
    np.testing.assert_array_equal(events, as_faery_reads(path))


def test_a_davis_recording_counts_what_it_holds_beside_events(real_data):
    _, _, source = read(real_data / "recordings" / "aestream_davis.aedat4")
    assert source.skipped == {"frame packet": 3, "IMU packet": 13, "trigger packet": 11}


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_others_read_what_is_written(tmp_path, compression):
    events = some_events(3_000)
    path = write(tmp_path / "a.aedat4", [events[:1000], events[1000:]], compression)
    expected = columns_of([events])
    theirs = as_dv_reads(path, tmp_path)
    np.testing.assert_array_equal(theirs[:4], expected)
    assert set(theirs[4]) == {SENSOR.width}
    np.testing.assert_array_equal(as_faery_reads(path), expected)


def test_content_is_what_counts(tmp_path):
    path = write(tmp_path / "a.aedat4", [some_events(10)]).rename(tmp_path / "a.raw")
    assert len(rows(read(path)[0])) == 10
    assert Aedat4Reader.recognises(path.read_bytes()[:65_536])
