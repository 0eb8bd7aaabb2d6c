"""The line of a stand-in, with real sockets: only words of the book leave, and everyone can check that."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from canary import BINARY_SPELLINGS, canary_events, canary_in
from pipeline_setup import everything
from stand_in_helpers import STEP_US, WORDS, make_stand_in_kit

from eventveil.errors import BookError
from eventveil.events import EventPacket
from eventveil.models import stand_in_runtime
from eventveil.models.stand_in_runtime import StandInRuntime
from eventveil.stream.pipeline import worker
from eventveil.stream.pipeline.pipeline import Pipeline
from eventveil.stream.protocol.wire import decode
from eventveil.stream.runtime.windows import Seal
from eventveil.stream.stages.transform import ChooseWordTransform
from eventveil.stream.subscriber.book_check import BookCheck

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
    """Run the line as threads; return its status and all frames that any subscriber could have received."""
    with everything() as (endpoint, published):
        status = Pipeline(kit.settings(endpoint, publish__events=True, **changes)).run()
    return status, published


def messages(frames):
    return [message for message in map(decode, frames) if message.topic != "state"]


def words(frames):
    return [message.header.word for message in messages(frames) if message.topic == "window"]


def assert_only_words_left(frames, kit):
    """Every frame is a state without data, or what the book says of its header; and no word came too often."""
    check = BookCheck(kit.book)
    for message in messages(frames):
        check.check(message)
    assert not any(canary_in(frame) for message in frames for frame in message)
    shown = words(frames)
    changed = [n for n, (word, before) in enumerate(zip(shown, [None, *shown], strict=False)) if word != before]
    assert all(sum(n <= m < n + STEPS_PER_SECOND for m in changed) <= 2 for n in changed)


def test_a_line_that_works_publishes_a_word_for_every_step(kit, monkeypatch):
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
    assert [message.topic for message in messages(frames)] == ["window", "events", "gesture"] * 16
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
def test_a_malicious_network_that_sends_no_word_ends_the_line(kit, monkeypatch, capfd, number):
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
def test_a_private_half_that_sends_anything_else_ends_the_line(kit, monkeypatch, capfd, process):
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


def test_a_book_that_is_replaced_before_the_publisher_reads_it_ends_the_line(kit, monkeypatch):
    monkeypatch.setattr(worker, "read_planned", lambda plan: (_ for _ in ()).throw(BookError("changed")))
    status, frames = run(kit)
    assert status.failure == "publish: changed"
    assert messages(frames) == []
