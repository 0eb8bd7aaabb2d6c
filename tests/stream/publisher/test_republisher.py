"""A replay publishes what was recorded, says that it is a replay, and nothing else."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
import zmq
from pipeline_helpers import gesture, gesture_header, state, window
from stand_in_helpers import stand_in_book
from typer.testing import CliRunner

from eventveil.cli import app
from eventveil.errors import BookError, ConfigError, EventFileError, WireError
from eventveil.host.addresses import free_port
from eventveil.models.rate_limit import bits_per_second
from eventveil.stream.archive import mcap_chunks, mcap_reader
from eventveil.stream.archive.mcap_file import McapFile
from eventveil.stream.archive.mcap_reader import McapRecording
from eventveil.stream.protocol.event_records import event_records
from eventveil.stream.protocol.wire import EventsHeader, Geometry, WindowHeader, decode, encode
from eventveil.stream.publisher.republisher import Playback, Republisher
from eventveil.stream.settings.pipeline import PublishSettings
from eventveil.stream.subscriber.client import subscribe

MS = 1_000_000
FAST = Playback(speed=None)


def recorded(path, *frames, every_ms=100):
    """Write messages at a fixed interval in milliseconds."""
    file = McapFile(path)
    for number, each in enumerate(frames):
        file.write(decode(each), 10**18 + number * every_ms * MS)
    file.close()
    return path


@pytest.fixture(scope="module")
def recorded_pipeline(tmp_path_factory):
    """A recording of four windows and gestures, of a certificate, and of the ends of stream and pipeline."""
    parts = [part for seq in range(4) for part in (window(seq), gesture(seq))]
    certificate, ends = state(state="certificate", certificate="{}"), [state(stream="0"), state()]
    return recorded(tmp_path_factory.mktemp("line") / "line.mcap", certificate, *parts, *ends)


@contextmanager
def replaying(path, excerpt, stopped=None, *more):
    """Replay in a thread once a subscriber has come, one recording or more; yield the endpoint."""
    endpoint, stopped = f"tcp://127.0.0.1:{free_port()}", stopped or threading.Event()
    settings = PublishSettings(bind=endpoint, wait_for=1)
    republisher = Republisher([McapRecording(one) for one in (path, *more)], settings, excerpt, stopped.is_set)
    thread = threading.Thread(target=republisher.run)
    thread.start()
    try:
        yield endpoint
    finally:
        stopped.set()
        thread.join(60)


def received(path, excerpt=FAST, **options):
    with replaying(path, excerpt) as endpoint:
        return list(subscribe(endpoint, ("window", "gesture", "events"), timeout_s=60, **options))


def without_run(messages):
    return [(one.topic, one.header.model_copy(update={"run": ""}), one.array.tobytes()) for one in messages]


def test_what_was_recorded_is_published_and_announced_as_a_replay(recorded_pipeline):
    messages = received(recorded_pipeline)
    states = [message.header for message in messages if message.topic == "state"]
    assert [header.state for header in states] == ["certificate", "replay", "ended"]
    assert states[1].stream == "0"
    assert "a replay of what was published before, recorded on 2001-09-09 at 01:46:40 UTC" in states[1].reason
    data = [message for message in messages if message.topic != "state"]
    original = [decode(part) for seq in range(4) for part in (window(seq), gesture(seq))]
    assert without_run(data) == without_run(original)
    (run,) = {message.header.run for message in data}
    assert run != original[0].header.run
    assert messages.index(data[0]) > messages.index(next(one for one in messages if one.topic == "state"))


def test_a_replay_never_poses_as_live(recorded_pipeline):
    """A subscriber that joins late learns it within two seconds, too."""
    stopped = threading.Event()
    with replaying(recorded_pipeline, Playback(speed=0.1), stopped) as endpoint:
        first = next(iter(subscribe(endpoint, timeout_s=60)))
        assert first is not None
        late = next(message for message in subscribe(endpoint, timeout_s=60) if message.topic == "state")
    assert late.header.state in ("replay", "certificate")


def test_excerpts_loops_and_pace(recorded_pipeline):
    """Seconds count from the first message, which is the certificate; the pace is that of the recording."""
    part = Playback(speed=None, start_s=0.3, stop_s=0.7)
    data = [message for message in received(recorded_pipeline, part) if message.topic != "state"]
    assert [(one.topic, one.header.seq) for one in data] == [
        ("window", 1),
        ("gesture", 1),
        ("window", 2),
        ("gesture", 2),
    ]
    begun = time.monotonic()
    received(recorded_pipeline, Playback(speed=5.0))
    assert time.monotonic() - begun > 0.15  # the last message comes 0.2 s after the first at this speed
    stopped = threading.Event()
    with replaying(recorded_pipeline, Playback(speed=None, loop=True), stopped) as endpoint:
        runs = []
        for message in subscribe(endpoint, ("gesture",), timeout_s=60):
            if message.topic == "gesture" and message.header.run not in runs:
                runs.append(message.header.run)
            if len(runs) == 3:
                break
    assert len(runs) == 3


def test_a_replay_that_begins_later_repeats_the_certificate(recorded_pipeline):
    """A recording holds it once, at its beginning; subscribers that require it need it wherever the replay begins."""
    messages = received(recorded_pipeline, Playback(speed=None, start_s=0.5))
    states = [one.header for one in messages if one.topic == "state"]
    assert [header.state for header in states] == ["certificate", "replay", "ended"]
    assert states[0].certificate == "{}"


@pytest.mark.parametrize("complete", [True, False])
def test_a_replay_that_begins_later_publishes_the_same_bytes_as_one_that_unpacks_everything(
    words, tmp_path, monkeypatch, complete
):
    """Lengths, too: an excerpt of few events is no shorter than the rest."""
    path = tmp_path / "line.mcap"
    file = McapFile(path)
    file.write(decode(state(state="certificate", certificate="{}")), 10**18)
    for one in McapRecording(words / "words.mcap"):
        file.write(one.message, one.time_ns)
        file._writer.flush()
    if complete:
        file.close()
    else:
        file.abandon(KeyboardInterrupt())
        path = file.part
    late = Playback(speed=None, start_s=0.45)
    unpack, unpacked = mcap_chunks.get_chunk_data_stream, []

    def counting(chunk, **how):
        unpacked.append(chunk.message_start_time)
        return unpack(chunk, **how)

    monkeypatch.setattr(mcap_chunks, "get_chunk_data_stream", counting)
    found = frames_on_the_wire(path, late)
    assert {time_ns for time_ns in unpacked if time_ns < 10**18 + 450 * MS} == {10**18}  # there are the definitions
    with monkeypatch.context() as slow:
        slow.setattr(mcap_reader, "index_of", lambda file, chunk: [])
        unpacked.clear()
        expected = frames_on_the_wire(path, late)
    assert len(set(unpacked)) == 10
    for frames in (*found, *expected):
        if frames[0] != b"state":
            run = json.loads(frames[1])["run"]
            frames[1] = frames[1].replace(run.encode(), b"0" * 16)
    payloads = {len(frames[2]) for frames in found if frames[0] == b"events"}
    assert payloads == {len(frames[2]) for frames in frames_on_the_wire(path) if frames[0] == b"events"}
    assert found == expected


def frames_on_the_wire(path, excerpt=FAST):
    """Return the raw frames that a subscriber receives."""
    with replaying(path, excerpt) as endpoint, zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.rcvtimeo, socket.linger = 20_000, 0
        socket.connect(endpoint)
        socket.subscribe(b"")
        frames = []
        while not frames or not (frames[-1][0] == b"state" and b'"ended"' in frames[-1][1]):
            frames.append(socket.recv_multipart())
    return frames


def test_lengths_do_not_tell_the_gesture(tmp_path):
    labels = ("a", "x" * 200, "b" * 50)
    parts = []
    for seq, label in enumerate(labels):
        header = gesture_header(seq=seq, labels=labels, label=label, probability=0.5, lost={"age": 10 ** (5 * seq)})
        parts.append([bytes(frame) for frame in encode(header)])
    sizes = {
        len(frames[1])
        for frames in frames_on_the_wire(recorded(tmp_path / "l.mcap", *parts))
        if frames[0] == b"gesture"
    }
    assert len(sizes) == 1


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A book, and a recording of its words."""
    folder, book = tmp_path_factory.mktemp("words"), stand_in_book()
    book.write(folder / "book")
    file = McapFile(folder / "words.mcap")
    facts = {
        "sensor": Geometry(width=book.sensor.width, height=book.sensor.height),
        "stream": "0", "run": "12ab" * 4, "life": 1, "age_ms": 250, "anonymizer": "ab" * 32, "trained": True,
        "book": book.digest, "bits_per_second": bits_per_second(len(book.words), 2, 10),
    }  # fmt: skip
    for seq in range(10):
        word, start_us = seq // 4, seq * book.step_us
        about = facts | {"seq": seq, "word": word, "t_start_us": start_us, "t_end_us": start_us + book.step_us}
        values, events = book.window(word, start_us), event_records(book.events(word, start_us))
        for frames in (
            encode(WindowHeader.model_validate(about | {"shape": values.shape}), values),
            encode(EventsHeader.model_validate(about | {"shape": events.shape}), events),
        ):
            file.write(decode([bytes(frame) for frame in frames]), 10**18 + seq * 100 * MS)
    file.close()
    return folder


def test_a_replay_of_a_stand_in_can_be_verified(words):
    data = [message for message in received(words / "words.mcap", book=words / "book") if message.topic != "state"]
    assert [message.header.seq for message in data if message.topic == "events"] == list(range(10))
    payloads = {len(frames[2]) for frames in frames_on_the_wire(words / "words.mcap") if frames[0] == b"events"}
    assert len(payloads) == 1  # whatever the word


def test_a_loop_of_a_stand_in_can_be_verified(words):
    """In each pass, time begins again; that is no word that changes too often."""
    seen = 0
    with replaying(words / "words.mcap", Playback(speed=None, loop=True)) as endpoint:
        for message in subscribe(endpoint, ("events",), book=words / "book", timeout_s=60):
            seen += message.topic == "events"
            if seen == 40:
                break
    assert seen == 40


def test_recordings_of_several_pipelines_can_be_verified_one_after_the_other(words, tmp_path):
    """Each is a run of its own: numbers and times begin again, and that is no word that changes too often."""
    other = McapFile(tmp_path / "other.mcap")
    for number, one in enumerate(McapRecording(words / "words.mcap")):
        header = one.message.header.model_copy(update={"run": "34cd" * 4})
        other.write(replace(one.message, header=header), 2 * 10**18 + number * MS)
    other.close()
    with replaying(words / "words.mcap", FAST, None, tmp_path / "other.mcap") as endpoint:
        messages = subscribe(endpoint, ("events",), book=words / "book", timeout_s=60)
        headers = [message.header for message in messages if message.topic == "events"]
    assert [header.seq for header in headers] == [*range(10), *range(10)]
    assert len({header.run for header in headers}) == 2


def test_a_recording_of_earlier_times_is_played_as_well_and_at_its_pace(tmp_path):
    """Anonymized files have the times of their cameras, each from its own beginning."""
    later = recorded(tmp_path / "later.mcap", *(window(seq) for seq in range(3)))
    earlier, parts = McapFile(tmp_path / "earlier.mcap"), [decode(window(seq)) for seq in range(3, 6)]
    for number, part in enumerate(parts):
        earlier.write(part, number * 500 * MS)
    earlier.close()
    for start_s, first in ((0.0, 0), (0.2, 2)):
        begun = time.monotonic()
        with replaying(later, Playback(start_s=start_s), None, tmp_path / "earlier.mcap") as endpoint:
            found = [one for one in subscribe(endpoint, ("window",), timeout_s=60) if one.topic == "window"]
        assert [one.header.seq for one in found] == [*range(first, 6)]
        assert time.monotonic() - begun >= 1.0


def test_a_recording_that_the_book_does_not_cover_is_noticed(recorded_pipeline, words):
    with pytest.raises(BookError, match="publishes no words of a book"):
        received(recorded_pipeline, book=words / "book")


def run(*arguments):
    return CliRunner().invoke(app, ["replay", *map(str, arguments)])


def test_the_command_replays_and_reports(recorded_pipeline):
    done = run(recorded_pipeline, "--bind", f"tcp://127.0.0.1:{free_port()}", "--speed", "max", "--json")
    assert done.exit_code == 0, done.output
    assert done.stdout == '{"messages": 8}\n'


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("{recorded_pipeline}", "--bind", "tcp://*:5999"), ConfigError, "other machines can reach"),
        (("{recorded_pipeline}", "--speed", "0"), ConfigError, "expected a factor"),
        (("{recorded_pipeline}", "--start", "2", "--stop", "1"), ConfigError, "after --start"),
        (("{recorded_pipeline}", "--start", "100", "--bind", "tcp://127.0.0.1:*"), ConfigError, "holds no message"),
        (("missing.mcap",), EventFileError, "No such file"),
        ((__file__,), EventFileError, "damaged"),
    ],
)
def test_mistakes_are_explained(recorded_pipeline, arguments, error, message):
    done = run(*(argument.format(recorded_pipeline=recorded_pipeline) for argument in arguments))
    assert isinstance(done.exception, error), repr(done.exception)
    assert message in str(done.exception)


@pytest.mark.parametrize("option", ["--start", "--stop"])
@pytest.mark.parametrize("value", ["inf", "nan", "1e300", "-1"])
def test_a_time_that_is_none_is_refused(recorded_pipeline, option, value):
    done = run(recorded_pipeline, option, value)
    assert done.exit_code == 2, repr(done.exception)
    assert isinstance(done.exception, SystemExit)


def test_a_message_that_breaks_the_format_ends_the_replay_as_failed(tmp_path, recorded_pipeline):
    bad = recorded(tmp_path / "bad.mcap", window(0), window(1))
    recording, refused = McapRecording(bad), []

    def since(self, start_ns):
        yield next(McapRecording.since(recording, 0))
        raise WireError("changed")

    endpoint = f"tcp://127.0.0.1:{free_port()}"
    damaged = type(
        "Damaged", (), {"path": bad, "since": since, "__iter__": lambda self: McapRecording.since(recording, 0)}
    )()
    republisher = Republisher([damaged], PublishSettings(bind=endpoint, wait_for=1), FAST, lambda: False)

    def work():
        with pytest.raises(WireError) as caught:
            republisher.run()
        refused.append(caught)

    thread = threading.Thread(target=work)
    thread.start()
    messages = list(subscribe(endpoint, timeout_s=60))
    thread.join(60)
    assert refused
    assert messages[-1].header.state == "failed"
    assert [message.header.seq for message in messages if message.topic == "window"] == [0]
