"""Recordings of what is published: whole files on a full disk, readable ones of killed recorders, the same messages."""

from __future__ import annotations

import base64
import json
import os
import pty
import signal
import stat
import struct
import subprocess
import sys
import time
import tracemalloc
from contextlib import nullcontext, suppress
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import zstandard
from mcap.opcode import Opcode
from mcap.reader import make_reader
from mcap.writer import Writer
from pipeline_helpers import (
    events_header,
    gesture,
    publisher,
    state,
    values,
    window,
    window_header,
)
from pipeline_setup import PROGRAM
from typer.testing import CliRunner

from eventveil.cli import app
from eventveil.errors import ConfigError, EventFileError, EventVeilError, WireError
from eventveil.stream.archive import mcap_chunks, mcap_file, recorder
from eventveil.stream.archive.mcap_file import McapFile
from eventveil.stream.archive.mcap_reader import McapRecording
from eventveil.stream.archive.message_writer import message_writer
from eventveil.stream.archive.recorder import Recorder, Rotation
from eventveil.stream.archive.schemas import PROFILE
from eventveil.stream.protocol.event_records import EVENT_DTYPE
from eventveil.stream.protocol.wire import decode, encode

SECOND_NS = 1_000_000_000
ONE_FILE = Rotation()
AT_US = [(0, 1_600_000_000_000_000), (1, 1_600_000_000_050_000)]


def messages(number=3):
    for seq in range(number):
        yield decode(window(seq))
        yield decode(gesture(seq))


def written(path, number=3):
    """Write windows and gestures, one pair a second from 100 s on."""
    file = McapFile(path)
    for count, message in enumerate(messages(number)):
        file.write(message, (100 + count // 2) * SECOND_NS)
    file.close()
    return path


def read(path, since=0):
    return [recorded.message for recorded in McapRecording(path).since(since) if recorded.message]


def same(found, expected):
    assert [(each.topic, each.header) for each in found] == [(each.topic, each.header) for each in expected]
    assert all(one.array.tobytes() == other.array.tobytes() for one, other in zip(found, expected, strict=True))


def documents(path):
    """Read a file with the library alone: topic, schema and document of each message."""
    with path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        assert reader.get_header().profile == PROFILE
        summary = reader.get_summary()
        assert summary.chunk_indexes
        assert {index.compression for index in summary.chunk_indexes} == {"zstd"}
        return [
            (channel.topic, schema.name, json.loads(record.data)) for schema, channel, record in reader.iter_messages()
        ]


def test_any_reader_of_mcap_finds_windows_pictures_and_gestures(tmp_path):
    found = documents(written(tmp_path / "line.mcap", 1))
    kinds = {"/0/window": "eventveil.Window", "/0/picture": "foxglove.RawImage", "/0/gesture": "eventveil.Gesture"}
    assert {topic: schema for topic, schema, _ in found} == kinds
    by_topic = {topic: document for topic, _, document in found}
    data = np.frombuffer(base64.b64decode(by_topic["/0/window"]["data"]), "<f4").reshape(by_topic["/0/window"]["shape"])
    assert np.array_equal(data, values(0))
    assert by_topic["/0/gesture"]["label"] == "wave"
    picture = by_topic["/0/picture"]
    grey = np.frombuffer(base64.b64decode(picture["data"]), np.uint8).reshape(picture["height"], picture["step"])
    signed = values(0)[1] - values(0)[0]
    assert (picture["width"], picture["height"], picture["encoding"]) == (4, 3, "mono8")
    assert np.array_equal(grey > 128, signed > np.abs(signed).max() / 254)
    assert picture["timestamp"] == {"sec": 100, "nsec": 0}


def test_what_is_read_is_what_was_written(tmp_path):
    records = np.array([(3, 1, 2, 1), (4, 0, 0, 0)], EVENT_DTYPE)
    events = decode([bytes(frame) for frame in encode(events_header(), records, payload_size=100)])
    camera = decode(state(state="camera_lost", stream="0"))
    expected = [*messages(), events, camera]
    file = McapFile(tmp_path / "line.mcap")
    for message in expected:
        file.write(message, SECOND_NS)
    file.close()
    same(read(tmp_path / "line.mcap"), expected)
    assert stat.S_IMODE((tmp_path / "line.mcap").stat().st_mode) == 0o600


def test_the_certificate_of_an_anonymized_recording_has_the_time_of_its_first_window(tmp_path):
    """Cameras count from 1970: at the time 0, it would be half a century before the first window."""
    headers = [window_header(seq=seq, t_start_us=at_us, t_end_us=at_us + 50_000) for seq, at_us in AT_US]
    frames = [state(state="certificate", certificate="{}"), *(encode(header, values(0)) for header in headers), state()]
    with message_writer(tmp_path / "line.mcap", "mcap", replace=False) as writer:
        for each in frames:
            writer.write(decode([bytes(frame) for frame in each]))
    found = list(McapRecording(tmp_path / "line.mcap"))
    ends = [1_000 * header.t_end_us for header in headers]
    assert [recorded.time_ns for recorded in found] == [ends[0], *ends, ends[-1]]
    assert [recorded.message.topic for recorded in found] == ["state", "window", "window", "state"]


def test_reading_begins_anywhere(tmp_path):
    same(read(written(tmp_path / "line.mcap", 5), 103 * SECOND_NS), list(messages(5))[6:])


def in_chunks(path, *, complete=True):
    """Write ten seconds from 100 s on, a chunk each: windows, gestures, events, and from 105 s on a second stream.

    The certificate comes first, as a subscriber receives it: once. Return the path of the file, which is hidden if its
    recorder was killed.
    """
    file = McapFile(path)
    file.write(decode(state(state="certificate", certificate="{}")), 100 * SECOND_NS)
    for seq in range(10):
        time_ns = (100 + seq) * SECOND_NS
        records = np.zeros(9 if seq == 2 else seq % 3, EVENT_DTYPE)
        header = events_header(seq=seq, shape=records.shape)
        for frames in (window(seq), gesture(seq), encode(header, records)):
            file.write(decode([bytes(frame) for frame in frames]), time_ns)
        if seq >= 5:
            file.write(decode(window(seq, stream="1")), time_ns + 1)
        if seq == 3:
            file.write(decode(state(state="camera_lost", stream="0")), time_ns)
        file.mark("a", time_ns + 2)
        file._writer.flush()
    if complete:
        file.close()
        return path
    file.abandon(KeyboardInterrupt())
    return file.part


@pytest.fixture
def opened(monkeypatch):
    """The number of chunks that were unpacked."""
    found = []
    unpack = mcap_chunks.get_chunk_data_stream
    monkeypatch.setattr(
        mcap_chunks, "get_chunk_data_stream", lambda chunk, **how: found.append(chunk) or unpack(chunk, **how)
    )
    return found


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("start_s", [99, 100, 101.5, 104, 108, 109, 110])
def test_chunks_that_end_before_the_start_stay_packed(tmp_path, opened, complete, start_s):
    """What is read is what a reader that unpacks everything keeps, and the certificate."""
    path = in_chunks(tmp_path / "line.mcap", complete=complete)
    start_ns = round(start_s * SECOND_NS)
    everything = list(McapRecording(path))
    assert len(opened) == 10
    expected = [one for one in everything if one.time_ns >= start_ns]
    certificate = everything[0]
    if expected and expected[0] is not certificate:
        expected.insert(0, certificate)
    opened.clear()
    found = list(McapRecording(path).since(start_ns))
    assert [one.marker for one in found] == [one.marker for one in expected]
    same([one.message for one in found if one.message], [one.message for one in expected if one.message])
    assert [one.time_ns for one in found[1:]] == [one.time_ns for one in expected[1:]]
    assert not found or found[0].time_ns == found[min(1, len(found) - 1)].time_ns >= start_ns
    needed = {(one.time_ns // SECOND_NS) for one in everything if one.time_ns >= start_ns}
    # And those with states and with new channels: the certificate, the lost camera, the second stream.
    assert len(opened) == len(needed | {100, 103, 105} | (set() if complete else {109}))  # whose index may be cut


def test_the_length_of_all_events_is_known_without_unpacking_them(tmp_path, opened):
    path = in_chunks(tmp_path / "line.mcap")
    longest = McapRecording(path).longest_events()
    assert len(opened) == 2  # those that define the channels of each stream
    assert 9 * EVENT_DTYPE.itemsize <= longest < 9 * EVENT_DTYPE.itemsize + 1_000
    assert McapRecording(written(tmp_path / "other.mcap")).longest_events() == 1


def test_a_channel_may_be_defined_in_a_chunk_before_its_first_message(tmp_path):
    """The library closes a chunk when a definition fills it; the channel's messages are in the next one."""
    path = tmp_path / "line.mcap"
    with path.open("wb") as file:
        writer = Writer(file, chunk_size=1_000_000)
        writer.start(PROFILE)
        documents = {"eventveil.Window": mcap_file.document_of(decode(window(0)))}
        records = np.zeros(200, EVENT_DTYPE)
        message = decode([bytes(frame) for frame in encode(events_header(shape=(200,)), records)])
        documents["eventveil.Events"] = mcap_file.document_of(message)
        for time_ns, (name, document) in enumerate(documents.items(), 1):
            channel = writer.register_channel(
                f"/0/{name.partition('.')[2].lower()}", "json", writer.register_schema(name, "jsonschema", b"{}")
            )
            if time_ns == 2:
                writer.flush()
            writer.add_message(channel, time_ns, document, time_ns)
            if time_ns == 1:
                writer.flush()
                writer.add_message(channel, time_ns, document, time_ns)
        writer.finish()
    same(read(path, 2), [message])
    assert McapRecording(path).longest_events() >= message.array.nbytes


def changed(path, target, **values):
    """Change what the third chunk of a recording says of itself, or the index after it."""
    data = bytearray(path.read_bytes())
    with path.open("rb") as file:
        *_, chunk = islice(mcap_chunks.packed_chunks(file), 3)
    if target == "index":
        place = chunk.end
        while data[place] == 7:
            length, _, size = struct.unpack_from("<QHI", data, place + 1)
            for entry in range(place + 15, place + 15 + size, 16):
                time_ns, where = struct.unpack_from("<QQ", data, entry)
                struct.pack_into("<QQ", data, entry, values.get("time_ns", time_ns), values.get("where", where))
            place += 9 + length
    else:
        old = {"first_ns": chunk.first_ns, "last_ns": chunk.last_ns, "size": chunk.size}
        struct.pack_into("<QQQ", data, chunk.begin, *(old | values).values())
    path.write_bytes(data)


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize(
    ("target", "values"),
    [
        ("header", {"last_ns": 100 * SECOND_NS}),
        ("header", {"last_ns": 1}),
        ("header", {"first_ns": 102 * SECOND_NS + 1}),
        ("header", {"size": 1}),
        ("header", {"size": 1 << 62}),
        ("index", {"time_ns": 100 * SECOND_NS}),
        ("index", {"time_ns": (1 << 64) - 1}),
        ("index", {"where": (1 << 64) - 1}),
    ],
)
def test_a_chunk_that_lies_is_damage_or_does_no_harm(tmp_path, target, values, complete):
    """Whatever one of the two says, no message from the start on is left out in silence."""
    path = in_chunks(tmp_path / "line.mcap", complete=complete)
    starts = [start_s * SECOND_NS for start_s in (101, 102, 103)]
    expected = [read(path, start_ns) for start_ns in starts]
    changed(path, target, **values)
    for start_ns, messages in zip(starts, expected, strict=True):
        found = []
        with suppress(EventFileError) if target == "header" else nullcontext():
            found = read(path, start_ns)
        if found or target == "index":
            same(found, messages)


def test_an_index_that_lies_about_lengths_is_damage(tmp_path):
    path = in_chunks(tmp_path / "line.mcap")
    changed(path, "index", where=1 << 40)
    with pytest.raises(EventFileError, match="damaged"):
        McapRecording(path).longest_events()


def test_an_index_larger_than_its_chunk_is_not_read(tmp_path):
    path = in_chunks(tmp_path / "line.mcap")
    with path.open("rb") as file:
        chunk = next(mcap_chunks.packed_chunks(file))
        assert mcap_chunks.index_of(file, chunk)
    data = path.read_bytes()
    index = struct.pack("<BQHI", 7, 6 + 16 * 100_000, 9, 16 * 100_000) + bytes(16 * 100_000)
    path.write_bytes(data[: chunk.end] + index + data[chunk.end :])
    with path.open("rb") as file:
        assert mcap_chunks.index_of(file, chunk) == []


@pytest.mark.parametrize(
    ("size", "content"),
    [((1 << 64) - 1, b"abc"), (17, b"\x90" + b"\xff" * 8 + bytes(8))],
    ids=["chunk", "record in a chunk"],
)
def test_a_length_that_no_computer_can_hold_is_damage(tmp_path, size, content):
    chunk = struct.pack("<QQQI", 0, 1, len(content), 0) + text(b"") + struct.pack("<Q", size) + content
    records = [(1, text(PROFILE.encode()) + text(b"")), (6, chunk)]
    data = b"".join(bytes([kind]) + struct.pack("<Q", len(body)) + body for kind, body in records)
    (tmp_path / "bad.mcap").write_bytes(b"\x89MCAP0\r\n" + data + bytes(9))
    with pytest.raises(EventFileError, match="damaged"):
        read(tmp_path / "bad.mcap")


def test_an_unfinished_file_is_read_as_far_as_it_goes(tmp_path):
    """However many bytes a killed recorder has written, whole chunks are read, and nothing else."""
    file = McapFile(tmp_path / "line.mcap")
    for message in messages(4):
        file.write(message, SECOND_NS)
        file._writer.flush()
    (part,) = tmp_path.glob(".line.mcap.*.part")
    data, expected = part.read_bytes(), list(messages(4))
    file.abandon(KeyboardInterrupt())
    counts = []
    for size in range(200, len(data) + 1, 97):
        (tmp_path / "cut.mcap").write_bytes(data[:size])
        recording = McapRecording(tmp_path / "cut.mcap")
        assert not recording.complete
        found = [recorded.message for recorded in recording]
        same(found, expected[: len(found)])
        counts.append(len(found))
    assert counts == sorted(counts)
    assert counts[-1] >= 7


@pytest.mark.parametrize("size", [0, 5, 8, 30])
def test_what_is_not_a_recording_is_refused(tmp_path, size):
    data = written(tmp_path / "line.mcap").read_bytes()
    (tmp_path / "bad.mcap").write_bytes(data[:size])
    with pytest.raises(EventFileError, match=r"record again|eventveil record"):
        McapRecording(tmp_path / "bad.mcap")


def test_a_recording_of_another_program_is_refused(tmp_path):
    with (tmp_path / "ros.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start("ros2")
        writer.finish()
    with pytest.raises(EventFileError, match="whose profile is 'eventveil'"):
        McapRecording(tmp_path / "ros.mcap")


@pytest.mark.parametrize(
    ("topic", "change", "message"),
    [
        ("/0/window", {"version": 2}, "version"),
        ("/0/window", {"data": "AAAA"}, "expected a payload"),
        ("/0/window", {"data": "?"}, "damaged, or was changed"),
        ("/0/window", {"raw": 1}, "raw"),
        ("/1/window", {}, "is in the channel"),
    ],
)
def test_a_changed_message_is_refused(tmp_path, topic, change, message):
    """What a pipeline could not have published is not published by a replay either."""
    document = (
        window_header().model_dump(mode="json") | {"data": base64.b64encode(values(0).tobytes()).decode()} | change
    )
    with (tmp_path / "bad.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start(PROFILE)
        schema = writer.register_schema("eventveil.Window", "jsonschema", b"{}")
        channel = writer.register_channel(topic, "json", schema)
        writer.add_message(channel, 1, json.dumps(document).encode(), 1)
        writer.finish()
    with pytest.raises(WireError, match=message):
        read(tmp_path / "bad.mcap")


def test_damage_is_an_error_of_ours(tmp_path):
    """One changed byte, anywhere: the messages before it, or an error that says what to do. Never another exception."""
    data = written(tmp_path / "line.mcap", 2).read_bytes()
    for place in range(0, len(data), 23):
        (tmp_path / "bad.mcap").write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            found = read(tmp_path / "bad.mcap")
        except EventVeilError:
            continue
        assert len(found) <= 4


@pytest.mark.parametrize(
    ("compression", "chunk_says", "frame_says"),
    [(b"zstd", 1 << 30, 100), (b"zstd", 100, 1 << 30), (b"lz4", 100, 100)],
)
def test_a_small_chunk_that_would_become_gigabytes_is_refused(tmp_path, compression, chunk_says, frame_says):
    compressor = zstandard.ZstdCompressor().compressobj(size=frame_says)
    data = compressor.compress(bytes(100)) + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    chunk = struct.pack("<QQQI", 0, 1, chunk_says, 0) + text(compression) + struct.pack("<Q", len(data)) + data
    records = [(1, text(PROFILE.encode()) + text(b"")), (6, chunk)]
    content = b"".join(bytes([kind]) + struct.pack("<Q", len(body)) + body for kind, body in records)
    (tmp_path / "bomb.mcap").write_bytes(b"\x89MCAP0\r\n" + content + bytes(9))
    with pytest.raises(EventFileError, match=r"damaged \(McapError\)"):
        read(tmp_path / "bomb.mcap")


def text(content):
    return struct.pack("<I", len(content)) + content


def test_files_rotate_by_size_and_each_can_be_verified_alone(tmp_path):
    certificate = decode(state(state="certificate", certificate="{}"))
    kept = Recorder(tmp_path / "line.mcap", Rotation(size=1))
    kept.write(certificate)
    for message in messages():
        kept._file._writer.flush()
        kept.write(message)
    kept.close()
    assert len(kept.paths) == 7
    assert sorted(tmp_path.iterdir()) == kept.paths
    found = [read(path) for path in kept.paths]
    assert all(first.header == certificate.header for first, *_ in found)
    same([message for _, *rest in found for message in rest], list(messages()))


@pytest.mark.parametrize("rotation", [Rotation(size=1), Rotation(seconds=1)])
def test_a_pipeline_that_sends_nothing_but_its_certificate_fills_no_file_after_another(tmp_path, monkeypatch, rotation):
    now = [0.0]
    monkeypatch.setattr(recorder.time, "monotonic", lambda: now[0])
    kept = Recorder(tmp_path / "line.mcap", rotation)
    kept.write(decode(state(state="certificate", certificate="{}")))
    for second in range(100):
        now[0] = 10.0 * second
        kept.tick()
    kept.close()
    assert len(kept.paths) <= 2


def test_a_system_that_cannot_reserve_space_on_the_disk_by_a_call_records_all_the_same(tmp_path, monkeypatch):
    """As macOS, whose Python has no such function."""
    monkeypatch.delattr(os, "posix_fallocate")
    kept = Recorder(tmp_path / "line.mcap", ONE_FILE)
    stream = kept._file._stream
    assert os.fstat(stream._reserve.fileno()).st_blocks * 512 >= stream.reserved > 0
    record_all(kept, messages())
    kept.close()
    same(read(tmp_path / "line.mcap"), list(messages()))


def test_files_rotate_by_time_and_old_ones_are_removed(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(recorder.time, "monotonic", lambda: now[0])
    old, mine = tmp_path / "line-20200101T000000Z-0001.mcap", tmp_path / "line-notes.mcap"
    young = tmp_path / "line-20200101T000000Z-0002.mcap"
    for path in (old, mine, young):
        path.touch()
    for path, age_s in ((old, 3_700), (mine, 10**9), (young, 3_500)):
        os.utime(path, (time.time() - age_s,) * 2)
    kept = Recorder(tmp_path / "line.mcap", Rotation(seconds=60, keep_s=3_600))
    for number, message in enumerate(messages(2)):
        now[0] = 30.0 * number
        kept.write(message)
    kept.close()
    assert [len(read(path)) for path in kept.paths] == [2, 2]
    assert set(tmp_path.iterdir()) == {*kept.paths, mine, young}


def test_old_files_are_removed_also_while_nothing_comes(tmp_path, monkeypatch):
    now, day_s = [0.0], 86_400
    monkeypatch.setattr(recorder.time, "monotonic", lambda: now[0])
    kept = Recorder(tmp_path / "line.mcap", Rotation(seconds=60, keep_s=day_s))
    (present,) = tmp_path.iterdir()
    old = tmp_path / "line-20200101T000000Z-0001.mcap"
    killed = tmp_path / ".line-20200101T000000Z-0002.mcap.0123abcd.part"
    others = {tmp_path / ".other-20200101T000000Z-0002.mcap.0123abcd.part", tmp_path / ".line.part"}
    for path in (old, killed, *others):
        path.touch()
    for path in (present, old, killed, *others):
        os.utime(path, (time.time() - 2 * day_s,) * 2)
    kept.tick()
    now[0] = 3_600.0
    kept.tick()
    assert set(tmp_path.iterdir()) == {present, *others}  # the one that is being written stays, however old
    kept.close()
    assert set(tmp_path.iterdir()) == {*kept.paths, *others}


def test_files_that_were_removed_are_forgotten(tmp_path):
    kept = Recorder(tmp_path / "line.mcap", Rotation(size=1, keep_s=3_600))
    for message in messages(3):
        kept._file._writer.flush()
        kept.write(message)
        for path in kept.paths:
            os.utime(path, (time.time() - 3_700,) * 2)
    kept.close()
    assert kept.windows == 3
    assert set(kept.paths) == set(tmp_path.iterdir())
    assert len(kept.paths) < 3


def test_the_index_of_a_chunk_takes_little_memory_until_the_file_ends(tmp_path):
    file, (message, _), chunks = McapFile(tmp_path / "line.mcap"), messages(1), 300
    tracemalloc.start()
    try:
        for second in range(1, 2 * chunks + 1):
            file.write(message, second * SECOND_NS)
            file._writer.flush()
            if second == chunks:
                begun = tracemalloc.get_traced_memory()[0]
        grown = tracemalloc.get_traced_memory()[0] - begun
    finally:
        tracemalloc.stop()
    file.close()
    assert grown < 200 * chunks
    with (tmp_path / "line.mcap").open("rb") as written:
        indexes = make_reader(written, validate_crcs=True).get_summary().chunk_indexes
        times = [time_ns for index in indexes for time_ns in (index.message_start_time, index.message_end_time)]
        assert times == [second * SECOND_NS for second in range(1, 2 * chunks + 1) for _ in range(2)]
        for index in indexes[:: chunks // 3]:
            written.seek(index.chunk_start_offset)
            assert written.read(1) == bytes([Opcode.CHUNK])


def test_a_publisher_of_endless_streams_is_refused_and_the_file_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(mcap_file, "MAX_CHANNELS", 10)
    kept = Recorder(tmp_path / "line.mcap", ONE_FILE)
    with pytest.raises(WireError, match="at most 10 channels"):
        record_all(kept, (decode(gesture(0, stream=f"stream{number}")) for number in range(100)))
    kept.close()
    assert len(read(tmp_path / "line.mcap")) == 10


def test_a_file_is_never_overwritten(tmp_path):
    (tmp_path / "line.mcap").write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        Recorder(tmp_path / "line.mcap", ONE_FILE)
    assert (tmp_path / "line.mcap").read_text() == "mine"


def test_markers_are_kept(tmp_path):
    kept = Recorder(tmp_path / "line.mcap", ONE_FILE)
    kept.mark("a")
    kept.close()
    ((topic, schema, document),) = documents(tmp_path / "line.mcap")
    assert (topic, schema, document["message"]) == ("/marker", "foxglove.Log", "a")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of ten megabytes, with most of it taken; skips where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", folder], check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", folder], check=True)


def big_windows():
    """Yield windows of noise, 256 KiB each."""
    random = np.random.default_rng(0)
    for seq in range(400):
        array = random.normal(size=(4, 128, 128)).astype(np.float32)
        yield decode([bytes(frame) for frame in encode(window_header(seq=seq, shape=array.shape), array)])


def record_all(kept, found):
    for message in found:
        kept.write(message)


def test_on_a_full_disk_the_file_is_whole(small_disk):
    kept = Recorder(small_disk / "line.mcap", ONE_FILE)
    with pytest.raises(ConfigError, match="the disk is full; what was recorded is complete"):
        record_all(kept, big_windows())
    kept.close()
    assert [path.name for path in small_disk.iterdir()] == ["line.mcap"]
    assert McapRecording(small_disk / "line.mcap").complete
    found = read(small_disk / "line.mcap")
    assert len(found) == kept.windows > 10  # with the window that no longer fitted


def test_at_the_limit_of_file_sizes_the_file_is_whole(tmp_path):
    code = f"""
import resource, sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from test_mcap import ONE_FILE, Recorder, big_windows
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000, 20_000_000))
kept = Recorder(Path("line.mcap"), ONE_FILE)
for message in big_windows():
    kept.write(message)
"""
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": here},
        capture_output=True,
        check=False,
    )
    assert b"limit of file sizes" in done.stderr
    assert McapRecording(tmp_path / "line.mcap").complete
    assert len(read(tmp_path / "line.mcap")) > 10
    assert not list(tmp_path.glob(".*"))


def test_a_write_that_fails_for_another_reason_leaves_what_can_be_read(tmp_path, monkeypatch):
    kept = Recorder(tmp_path / "line.mcap", ONE_FILE)
    for message in messages():
        kept.write(message)
    kept._file._writer.flush()
    monkeypatch.setattr(mcap_file.os, "write", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    monkeypatch.setattr(mcap_file, "FLUSH_S", -1)
    with pytest.raises(ConfigError, match="Input/output error"):
        kept.write(decode(window(3)))
    monkeypatch.undo()
    kept.close()
    (part,) = tmp_path.iterdir()
    same(read(part), list(messages()))


def record(*arguments):
    """Run `record` against a publisher; return its result."""
    return CliRunner().invoke(app, ["record", *map(str, arguments)])


def test_the_command_records_until_the_pipeline_ends(tmp_path):
    sent = [window(0), gesture(0), window(1), gesture(1), state()]
    with publisher(*sent, topics=4) as endpoint:
        done = record(endpoint, "--out", tmp_path / "new" / "line.mcap", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["windows"] == 2
    same(read(tmp_path / "new" / "line.mcap"), [decode(frames) for frames in sent])
    summary = json.loads(CliRunner().invoke(app, ["info", str(tmp_path / "new" / "line.mcap"), "--json"]).stdout)
    assert summary["complete"]
    assert summary["channels"] == {"/0/window": 2, "/0/gesture": 2, "/state": 1}
    assert summary["anonymizer"] == [window_header().anonymizer]


def test_a_pipeline_that_failed_gives_status_1(tmp_path):
    with publisher(window(0), state(state="failed"), topics=4) as endpoint:
        assert record(endpoint, "--out", tmp_path / "line.mcap").exit_code == 1
    assert len(read(tmp_path / "line.mcap")) == 2


def test_what_the_book_does_not_say_is_not_recorded(tmp_path):
    from stand_in_helpers import stand_in_book

    stand_in_book().write(tmp_path / "book")
    with publisher(window(0), state(), topics=4) as endpoint:
        done = record(endpoint, "--out", tmp_path / "line.mcap", "--book", tmp_path / "book")
    assert "refused" in str(done.exception)
    assert read(tmp_path / "line.mcap") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "line.txt"), "ends in .mcap"),
        (("--out", "line.mcap", "--keep", "30d"), "--rotate-size or --rotate-every"),
        (("--out", "line.mcap", "--rotate-size", "0MB"), "expected a size such as"),
        (("--out", "line.mcap", "--rotate-every", "soon"), "expected a time such as"),
        ((), "expected --out"),
    ],
)
def test_mistakes_are_explained(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in str(record("tcp://127.0.0.1:1", *arguments).exception)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_recorder_that_is_ended_loses_little_and_sets_markers(tmp_path, end):
    """A real recorder at a terminal: a key sets a marker; SIGTERM completes the file, SIGKILL leaves a readable one."""
    import zmq

    terminal, its_end = pty.openpty()
    with zmq.Context() as context, context.socket(zmq.XPUB) as public:
        public.linger, public.rcvtimeo = 0, 60_000
        endpoint = f"tcp://127.0.0.1:{public.bind_to_random_port('tcp://127.0.0.1')}"
        process = subprocess.Popen(
            [*PROGRAM, "record", endpoint, "--out", "line.mcap"], cwd=tmp_path, stdin=its_end, stderr=subprocess.PIPE
        )
        try:
            for _ in range(4):
                public.recv()
            os.write(terminal, b"m")
            for seq in range(20):
                public.send_multipart(window(seq))
            assert b"marker m" in process.stderr.readline()
            wait_for(lambda: windows_in(tmp_path) == 20)
            process.send_signal(end)
            process.wait(60)
        finally:
            process.kill()
            process.stderr.close()
            os.close(terminal)
            os.close(its_end)
    (path,) = tmp_path.iterdir()
    recording = McapRecording(path)
    assert recording.complete == (end == signal.SIGTERM)
    found = list(recording)
    same([each.message for each in found if each.message], [decode(window(seq)) for seq in range(20)])
    assert [json.loads(each.marker)["message"] for each in found if each.marker] == ["m"]


def windows_in(folder):
    """Return how many windows can be read so far of the one recording in a folder."""
    with suppress(EventVeilError):
        return sum(each.message is not None for path in folder.iterdir() for each in McapRecording(path))
    return 0


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_layout_shows_channels_of_a_recording_and_each_of_its_panels(tmp_path):
    """Panels take topics of certain schemas; `TYPE!NAME` is how a layout names a panel."""
    path = written(tmp_path / "a.mcap")
    file = McapFile(tmp_path / "marked.mcap")
    file.mark("a", SECOND_NS)
    file.close()
    schemas = {topic: schema for topic, schema, _ in documents(path) + documents(tmp_path / "marked.mcap")}
    layout = json.loads((Path(__file__).parents[3] / "deploy" / "foxglove.json").read_text())
    panels = layout["configById"]
    shown = [
        (panels["Image!window"]["imageMode"]["imageTopic"], "foxglove.RawImage"),
        (panels["StateTransitions!gesture"]["paths"][0]["value"].partition(".")[0], "eventveil.Gesture"),
        (panels["RawMessages!gesture"]["topicPath"], "eventveil.Gesture"),
        (panels["RosOut!markers"]["topicToRender"], "foxglove.Log"),
    ]
    assert [schemas[topic] for topic, _ in shown] == [schema for _, schema in shown]

    def leaves(node):
        return [node] if isinstance(node, str) else leaves(node["first"]) + leaves(node["second"])

    assert sorted(leaves(layout["layout"])) == sorted(panels)
    assert set(layout) == {"configById", "globalVariables", "userNodes", "playbackConfig", "layout"}
