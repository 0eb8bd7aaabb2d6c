"""Damaged AEDAT4: truncated, flipped bits, contradictory, or made to exhaust memory."""

from __future__ import annotations

import tracemalloc

import pytest
import reference_io as reference
from aedat4_files import EPOCH_US, INFORMATION, build, event_payload, places, read, rows, some_events, write
from hypothesis import given, settings
from hypothesis import strategies as st

from eventveil.errors import EventFileError
from eventveil.io import open_events
from eventveil.io.formats import aedat4, flatbuffer
from eventveil.io.formats.aedat4 import MAGIC, PACKET
from eventveil.io.formats.compression import COMPRESSIONS, MAX_BYTES, Decompressor, compress
from eventveil.io.formats.resync import BLOCK


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
    for length in range(1, len(whole) - 4):  # the last bytes are padding after the text
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
def test_a_cut_after_a_packet_is_reported_where_a_table_was_announced(tmp_path, kept):
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
    """Flip one bit of every byte of a packet, header and payload."""
    parts = [some_events(4, start=EPOCH_US + 1000 * k, seed=k) for k in range(4)]
    path = write(tmp_path / "a.aedat4", parts, compression)
    data = bytearray(path.read_bytes())
    begin, end = places(data)[1:3]
    if compression == "NONE":
        end -= 16  # except for the last event: without a checksum its time, far ahead, is accepted
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
def test_a_packet_is_found_after_one_whose_size_is_wrong(tmp_path, monkeypatch, block):
    """The packet crosses the blocks of the search anywhere."""
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
    """No writer makes them, and no kernel downstream has to handle them."""
    payload = event_payload([(1, 2, 3, 1)])
    shifted = payload[:24] + (5).to_bytes(4, "little") + b"\0" + payload[28:]
    (tmp_path / "a.aedat4").write_bytes(build((2, shifted), (2, payload)))
    packets, faults, _ = read(tmp_path / "a.aedat4")
    assert rows(packets) == [(1, 2, 3, 1)]
    assert [fault.recoverable for fault in faults] == [True]


def test_a_last_event_far_ahead_is_left_out_alone(tmp_path):
    parts = [some_events(4, start=EPOCH_US + 1000 * k, seed=k) for k in range(4)]
    data = bytearray(write(tmp_path / "a.aedat4", parts, "NONE").read_bytes())
    data[places(data)[2] - 16 + 5] ^= 1  # the time of the last event in the second packet
    (tmp_path / "a.aedat4").write_bytes(data)
    packets, faults, source = read(tmp_path / "a.aedat4")
    assert rows(packets) == rows(parts)[:7] + rows(parts)[8:]
    assert faults == []
    assert source.skipped == {"event with an outlying time": 1}


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
        file.truncate(2 * MAX_BYTES)  # a sparse file, which takes no space
    tracemalloc.start()
    with pytest.raises(EventFileError, match="header"):
        open_events(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 22


@pytest.mark.parametrize("compression", ["NONE", "LZ4"])
def test_packets_after_a_gap_of_zeros_are_found(tmp_path, compression):
    parts = [some_events(4, start=EPOCH_US + 1000 * k, seed=k) for k in range(4)]
    data = write(tmp_path / "a.aedat4", parts, compression).read_bytes()
    for extra in range(4):
        at = places(data)[2]
        (tmp_path / "a.aedat4").write_bytes(data[:at] + bytes(2 * BLOCK + extra) + data[at:])
        packets, faults, _ = read(tmp_path / "a.aedat4")
        assert rows(packets) == rows(parts)
        assert all(fault.recoverable for fault in faults)
