"""The pipeline of a stand-in, with real sockets: only words of the book leave, and everyone can check that."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from book_helpers import small_book
from canary import BINARY_SPELLINGS, canary_events, canary_in, files_with_canary
from dataset_makers import events_of, tonic_trial
from fault_injection import assert_counters_balance, pipeline_of
from pipeline_setup import everything, subscriber
from stand_in_helpers import STEP_US, WORDS, book_of, make_stand_in_kit, stand_in_book

from eventveil.errors import BookError
from eventveil.events import EventPacket
from eventveil.models import stand_in_runtime
from eventveil.models.book import Book
from eventveil.models.stand_in_runtime import StandInRuntime
from eventveil.stream.pipeline import worker
from eventveil.stream.pipeline.pipeline import Pipeline
from eventveil.stream.protocol.wire import decode
from eventveil.stream.runtime.windows import Seal
from eventveil.stream.stages.transform import ChooseWordTransform
from eventveil.stream.subscriber.book_check import BookCheck

TOPICS = ("window", "events", "gesture")
STEPS_PER_SECOND = 1_000_000 // STEP_US


def seen_events():
    """Yield 2.5 s in which the canary comes and goes, so that what the network sees changes."""
    for part in range(5):
        for packet in canary_events(STEP_US):
            thinned = packet[:: 1 + 40 * (part % 2)]
            yield EventPacket(thinned.t + part * 500_000, thinned.x, thinned.y, thinned.p)


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    return make_stand_in_kit(tmp_path_factory.mktemp("stand-in"), seen_events())


def run(kit, **changes):
    """Run the pipeline as threads; return its status and all frames that any subscriber could have received."""
    with everything() as (endpoint, published):
        status = Pipeline(kit.settings(endpoint, publish__events=True, **changes)).run()
    return status, published


def messages(frames):
    return [message for message in map(decode, frames) if message.topic != "state"]


def words(frames):
    return [message.header.word for message in messages(frames) if message.topic == "window"]


def assert_only_words_left(frames, kit):
    """Every frame is a state without data, or what the book says of its header; and no word came too often."""
    check = BookCheck(Book.read(book_of(kit)))
    for message in messages(frames):
        check.check(message)
    assert not any(canary_in(frame) for message in frames for frame in message)
    shown = words(frames)
    changed = [n for n, (word, before) in enumerate(zip(shown, [None, *shown], strict=False)) if word != before]
    assert all(sum(n <= m < n + STEPS_PER_SECOND for m in changed) <= 2 for n in changed)


def test_a_pipeline_that_works_publishes_a_word_for_every_step(kit, monkeypatch):
    raw: list[bytes] = []
    choose = StandInRuntime.__call__

    def spy(self, counts, *rest):
        raw.extend(window.tobytes() for window in counts)
        return choose(self, counts, *rest)

    monkeypatch.setattr(StandInRuntime, "__call__", spy)
    status, frames = run(kit)
    assert status.failure is None
    assert sum(BINARY_SPELLINGS[0] in window for window in raw) > 5  # the canary is in the raw windows
    assert_only_words_left(frames, kit)
    assert [message.topic for message in messages(frames)] == [*TOPICS] * 16
    # The first word stands for the last step of the first second, and each following one for the step after it.
    starts = [message.header.t_start_us for message in messages(frames) if message.topic == "window"]
    assert starts == list(range(starts[0], starts[0] + 16 * STEP_US, STEP_US))
    assert starts[0] == 9 * STEP_US
    assert len(set(words(frames))) > 1


FLICKER = [lambda n: (0, 1, 2, 3)[n % 4], lambda n: n * 7 % 4, lambda n: (0, 3)[n % 2]]


@pytest.mark.parametrize("malice", FLICKER)
def test_a_malicious_network_flickers_in_vain(kit, monkeypatch, malice):
    calls = iter(range(10_000))
    monkeypatch.setattr(StandInRuntime, "__call__", lambda self, counts, *_: [malice(next(calls)) for _ in counts])
    status, frames = run(kit)
    assert status.failure is None
    assert len(words(frames)) == 16
    assert_only_words_left(frames, kit)


@pytest.mark.parametrize("number", [-1, len(WORDS), 62_701, 2**70, 1.0, "1", None, True, np.float32(1)])
def test_a_malicious_network_that_sends_no_word_ends_the_pipeline(kit, monkeypatch, capfd, number):
    monkeypatch.setattr(StandInRuntime, "__call__", lambda self, counts, *_: [number] * len(counts))
    status, frames = run(kit)
    assert status.failure is not None
    assert messages(frames) == []
    assert [json.loads(header)["state"] for _, header, _ in frames] == ["failed"]
    assert not canary_in("".join(capfd.readouterr()).encode() + status.failure.encode())


def raw_instead(self, windows):
    return windows


def values_instead(self, windows):
    return [
        Seal.set(self._seal, window.origin, window.counts.reshape(-1, 32, 32).astype(np.float32)) for window in windows
    ]


def another_seal(self, windows):
    return [Seal(b"of another run").set_word(window.origin, 1) for window in windows]


def whole_window(self, windows):
    return [self._seal.set_word(window.origin, 1) for window in windows]


@pytest.mark.parametrize("process", [raw_instead, values_instead, another_seal, whole_window])
def test_a_private_half_that_sends_anything_else_ends_the_pipeline(kit, monkeypatch, capfd, process):
    monkeypatch.setattr(ChooseWordTransform, "process", process)
    status, frames = run(kit)
    assert status.failure is not None
    assert "refused" in status.failure
    assert [json.loads(header)["state"] for _, header, _ in frames] == ["failed"]
    assert not canary_in("".join(capfd.readouterr()).encode())


def test_two_scenes_that_choose_the_same_words_leave_the_same_bytes(kit, tmp_path, monkeypatch):
    """What is in front of the camera reaches the public half as a number, and in no other way."""
    monkeypatch.setattr(
        StandInRuntime, "__call__", lambda self, counts, streams, ends_us: [t // 500_000 % 4 for t in ends_us]
    )
    monkeypatch.setattr("secrets.token_hex", lambda n: "ab" * n)  # the name of the run

    def dark():
        for n in range(5):
            yield EventPacket.of([n * 500_000, n * 500_000 + 499_999], [n, 9], [n, 9], [0, 1])

    other = make_stand_in_kit(tmp_path, dark())
    (status, busy), (_, quiet) = run(kit), run(other)
    assert status.failure is None
    assert len(words(busy)) == 16
    assert without_age(busy) == without_age(quiet)


def without_age(frames):
    """Return frames without `age_ms`: a recording at full speed has no clock, and is published when it is computed."""
    assert all(json.loads(header).get("age_ms", 0) < 10**6 for _, header, _ in frames)
    return [[topic, re.sub(rb'"age_ms":\d+,| *$', b"", header), payload] for topic, header, payload in frames]


def test_a_crash_of_the_network_lets_nothing_out(kit, monkeypatch, capfd):
    def fail(self, counts):
        raise RuntimeError(f"unexpected value in {counts}")

    monkeypatch.setattr(stand_in_runtime.StandInRuntime, "_probabilities", fail)
    monkeypatch.setattr(stand_in_runtime.StandInRuntime, "warm_up", lambda self, batch=1: None)
    status, frames = run(kit)
    assert status.failure is not None
    assert messages(frames) == []
    assert not canary_in("".join(capfd.readouterr()).encode() + status.failure.encode())


def test_a_book_that_is_replaced_before_the_publisher_reads_it_ends_the_pipeline(kit, monkeypatch):
    monkeypatch.setattr(worker, "read_planned", lambda plan: (_ for _ in ()).throw(BookError("changed")))
    status, frames = run(kit)
    assert status.failure == "publish: changed"
    assert messages(frames) == []


@pytest.fixture
def folder():
    # Not tmp_path: the path of a socket must not exceed about a hundred bytes.
    with tempfile.TemporaryDirectory(prefix="ev-") as name:
        yield Path(name)


LIVE = {
    "line__delivery": "live", "line__release_ms": 400, "publish__wait_for": 1, "publish__events": True,
    "sources__0__loop": True, "sources__0__gap_s": 0,
}  # fmt: skip


@pytest.mark.timeout(600)
def test_processes_are_killed_and_still_only_words_leave_which_a_subscriber_verifies(kit, folder):
    endpoint = f"ipc://{folder}/out"
    options = (
        *(f"--topic={topic}" for topic in TOPICS),
        "--book",
        str(book_of(kit)),
        "--npz",
        str(folder / "received"),
    )
    environment = os.environ | {"HOME": str(folder), "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    with (
        subscriber(endpoint, *options) as one,
        pipeline_of(kit, kit.recording, LIVE | {"publish__bind": endpoint}, cwd=folder, env=environment) as pipeline,
    ):
        for stage in ("anonymize", "publish"):
            pipeline.wait_for(lambda beat: beat["published_windows"] > 3)
            pipeline.kill(stage)
            assert_counters_balance(pipeline.back(stage, "killed"))
        assert_counters_balance(pipeline.stop())
        assert one.process.wait(60) == 0  # it has verified every message
    assert not canary_in("".join(pipeline.output).encode())
    assert not files_with_canary(folder)
    assert "at most 2 changes and 8.77 bits a second" in pipeline.errors
    windows, events, gestures = map(one.topic, TOPICS)
    assert {each["seq"] for each in events} == {each["seq"] for each in gestures} == {each["seq"] for each in windows}
    assert max(each["life"] for each in windows) == 2
    ends = [0, *(each["t_end_us"] for each in windows)]
    assert all(each["t_start_us"] >= end for each, end in zip(windows, ends, strict=False))
    changes = [
        each["t_start_us"]
        for each, before in zip(windows, [{"word": None}, *windows], strict=False)
        if each["word"] != before["word"]
    ]
    # Whatever is lost with a publisher: of the windows that arrive, a second has no more changes than two.
    assert all(sum(start <= t < start + 1_000_000 for t in changes) <= 2 for start in changes)


@pytest.mark.timeout(600)
def test_a_subscriber_with_another_book_ends_with_status_2_and_says_why(kit, folder):
    small_book().write(folder / "other")
    endpoint = f"ipc://{folder}/out"
    with subscriber(endpoint, "--book", str(folder / "other")) as one:
        errors = one.process.stderr
        status = Pipeline(kit.settings(endpoint)).run()
        assert status.failure is None
        assert one.process.wait(60) == 2
        assert f"the pipeline publishes from the book with SHA-256 {stand_in_book().digest}" in errors.read()
    assert one.messages == []


def test_a_word_is_held_against_what_its_own_step_shows_and_the_labels_are_those_of_the_book(
    kit, tmp_path, monkeypatch
):
    for target in (0, 1):  # 1.5 s each: "hand clapping" and "right hand wave"
        rows = events_of(target, 4_000, 1_500_000)
        rows[0, 0], rows[-1, 0] = 0, 1_499_000
        tonic_trial(tmp_path, f"ibmGestureTest/user1_led/{target}.npy", rows)
    monkeypatch.setattr(StandInRuntime, "__call__", lambda self, counts, *_: [0] * len(counts))
    status, frames = run(kit, sources=[{"uri": f"dvs-gesture:{tmp_path}", "speed": "max", "gap_s": 0.3}])
    assert status.failure is None
    assert len(words(frames)) == 24
    assert status.score.figures() == {
        "judged": 6 + 15,  # the first word comes after a second, and none is judged that ends in the gap
        "right": 6,
        "accuracy": pytest.approx(6 / 21, abs=1e-4),
        "chance": 0.25,
        "people": 1,
        "trials": 2,
        "trials_right": 1,
        "first_right_s": pytest.approx(1.0, rel=0.02),
    }
