"""A stand-in publishes words of the book and nothing else, whatever the private half sends.

The private half here holds the seal's key: it stands for a network, a rule and a runtime that all are malicious.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import reference_book
from hypothesis import given
from hypothesis import strategies as st
from pipeline_helpers import (
    DIGEST,
    RUN,
    SEAL,
    link,
    origin,
    raw,
    received,
    sealed_message,
    stage_counters,
    values,
)
from stand_in_helpers import BOOK_SENSOR, STEP_US, STEPS, WORDS, stand_in_book

from eventveil import Sensor
from eventveil.errors import BoundaryError
from eventveil.stream.protocol.wire import EVENTS, GESTURE, WINDOW, Geometry, decode
from eventveil.stream.publisher.contents import Provenance
from eventveil.stream.publisher.publisher import Publisher
from eventveil.stream.runtime.message import StageMessage
from eventveil.stream.runtime.windows import AnonymizedWindow, ChosenWord, Seal

BOOK = stand_in_book()
LABELS = tuple(word.label for word in WORDS)
SECOND_US = 1_000_000
NOW_NS = 1_000_000_000_000
CAMERA = Sensor(346, 260)


def provenance(changes=2):
    return Provenance(
        DIGEST, trained=True, labels=LABELS, book=BOOK.digest, changes_per_second=changes, bits_per_second=10.5
    )


@contextmanager
def publishing(*, changes=2, events=True, counters=None, max_age_ms=None):
    """Yield a publisher and a function that returns the frames it has published since the last call."""
    with link(hwm=10_000) as (push, pull):
        publisher = Publisher(
            push, SEAL, provenance(changes), counters or stage_counters("publish"), run=RUN, max_age_ms=max_age_ms,
            book=BOOK, events=events, clock_ns=lambda: NOW_NS,
        )  # fmt: skip
        yield publisher, lambda: received(pull)


def where(seq=0, *, start_us=None, stream="0", **facts):
    start_us = seq * STEP_US if start_us is None else start_us
    return replace(origin(seq, stream, start_us=start_us, span_us=STEP_US), sensor=CAMERA, ended_ns=NOW_NS, **facts)


def chosen(word, seq=0, lost=None, **place):
    """A message of the private half; the seal is always valid."""
    return StageMessage(place.get("stream", "0"), SEAL.set_word(where(seq, **place), word), Counter(lost))


def published(*words, **settings):
    """Return the frames that leave when the private half chooses these words, one in each step."""
    with publishing(**settings) as (publisher, out):
        for seq, word in enumerate(words):
            publisher.take(chosen(word, seq))
        return out()


def words_of(frames):
    return [json.loads(header)["word"] for topic, header, _ in frames if topic == b"window"]


def test_the_content_of_every_message_is_what_the_book_says_of_the_word_and_the_time():
    for number, seq in ((0, 7), (1, 7), (1, 8), (3, 98)):
        with publishing() as (publisher, out):
            publisher.take(chosen(number, seq, lost={"queue": seq}))
            window, events, gesture = map(decode, out())
        word, t_start_us = WORDS[number], seq * STEP_US
        clip = [
            (int(BOOK.t[n]), int(BOOK.x[n]), int(BOOK.y[n]), int(BOOK.p[n]))
            for n in range(int(BOOK.starts[word.clip * STEPS]), int(BOOK.starts[(word.clip + 1) * STEPS]))
        ]
        shown = reference_book.events_of(
            clip, word, sensor=BOOK_SENSOR, steps=STEPS, step_us=STEP_US, t_start_us=t_start_us
        )
        counts = reference_book.window_of(shown, sensor=BOOK_SENSOR, step_us=STEP_US, bins=1, t_start_us=t_start_us)
        assert (window.topic, events.topic, gesture.topic) == (WINDOW, EVENTS, GESTURE)
        np.testing.assert_array_equal(window.array, counts)
        assert events.array.tolist() == shown
        assert (gesture.header.label, gesture.header.presence) == (word.label, word.presence)
        assert (gesture.header.labels, gesture.header.probability, gesture.header.classifier) == (LABELS, None, None)
        for header in (window.header, events.header, gesture.header):
            assert (header.book, header.word, header.bits_per_second) == (BOOK.digest, number, 10.5)
            assert header.sensor == Geometry(width=BOOK_SENSOR.width, height=BOOK_SENSOR.height)  # not the camera's
            assert (header.t_start_us, header.t_end_us) == (t_start_us, t_start_us + STEP_US)
            assert (header.seq, header.lost, header.run, header.life) == (seq, +Counter(queue=seq), RUN, 1)


def test_events_are_published_only_on_request():
    assert [frames[0] for frames in published(0, events=False)] == [b"window", b"gesture"]


def sent(message):
    """Return the refusal of a message, of which nothing may leave."""
    with publishing() as (publisher, out):
        publisher.take(chosen(1, 0))
        first = out()
        with pytest.raises(BoundaryError, match="refused") as caught:
            publisher.take(message)
        assert first
        assert out() == []
        assert publisher.figures()["counts"]["windows"] == 1
    return str(caught.value)


@pytest.mark.parametrize("word", [-1, len(WORDS), 4_096, 2**63, -(2**63), 10**30])
def test_a_number_that_is_not_a_word_ends_the_pipeline(word):
    refusal = sent(chosen(word, 1))
    assert str(word) not in refusal or 0 < word < 10


@pytest.mark.parametrize("word", [1.0, 0.5, "1", True, None, np.int64(1), np.float32(1), (1,), b"\1", float("nan")])
def test_what_is_not_a_whole_number_ends_the_pipeline_though_its_seal_is_valid(word):
    message = chosen(word, 1)
    assert message.window.word is word
    sent(message)


@pytest.mark.parametrize("seal", [b"", bytes(32), SEAL.set_word(where(1), 2).seal, SEAL.set_word(where(2), 1).seal])
def test_a_word_with_another_seal_ends_the_pipeline(seal):
    sent(StageMessage("0", ChosenWord(where(1), 1, seal)))
    sent(StageMessage("0", Seal(b"of another run").set_word(where(1), 1)))


@pytest.mark.parametrize(
    "changed",
    [
        {"t_start_us": STEP_US + 1, "t_end_us": 2 * STEP_US + 1},  # six decimals of a message in each time
        {"t_start_us": STEP_US + 1},
        {"t_end_us": 3 * STEP_US},
        {"t_start_us": 2 * STEP_US, "t_end_us": STEP_US},
        {"t_start_us": 0, "t_end_us": 10 * STEP_US},
    ],
)
def test_a_word_that_spans_anything_but_a_step_ends_the_pipeline(changed):
    sent(StageMessage("0", SEAL.set_word(replace(where(1), **changed), 1)))


@pytest.mark.parametrize(
    "window",
    [raw(), sealed_message().window, sealed_message(scores=None).window, SEAL.set(where(1), values()), b"1", 1],
)
def test_no_window_leaves_a_pipeline_of_words(window):
    message = chosen(1, 1)
    message.window = window
    sent(message)


def test_no_word_leaves_a_pipeline_of_windows():
    with link(hwm=10) as (push, pull):
        publisher = Publisher(
            push, SEAL, Provenance(DIGEST, trained=True), stage_counters("publish"), run=RUN, max_age_ms=None
        )
        with pytest.raises(BoundaryError, match="got ChosenWord: refused"):
            publisher.take(chosen(1))
        assert received(pull) == []


def most_changes_in_a_second(words):
    changed = [n for n, (word, before) in enumerate(zip(words, [None, *words], strict=False)) if word != before]
    return max(sum(n <= m < n + SECOND_US // STEP_US for m in changed) for n in changed)


@pytest.mark.parametrize("changes", [1, 2, 3])
def test_a_private_half_that_flickers_changes_the_word_n_times_a_second(changes):
    words = words_of(published(*[(0, 3)[n % 2] for n in range(50)], changes=changes))
    assert len(words) == 50
    assert most_changes_in_a_second(words) == changes


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 3))
def test_no_choice_of_words_changes_them_more_often(wanted, changes):
    words = words_of(published(*wanted, changes=changes, events=False))
    assert most_changes_in_a_second(words) <= changes
    assert words[0] == wanted[0]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=25))
def test_every_byte_follows_from_the_published_words(wanted):
    """Two private halves whose words are limited to the same cannot be distinguished from outside."""
    frames = published(*wanted)
    assert published(*words_of(frames)) == frames


def test_no_byte_depends_on_the_camera_or_on_when_a_window_was_complete():
    def frames(camera, late_ns):
        with publishing() as (publisher, out):
            for seq, word in enumerate((0, 0, 1, 3)):
                place = replace(where(seq), sensor=camera, ended_ns=NOW_NS - late_ns)
                publisher.take(StageMessage("0", SEAL.set_word(place, word)))
            return out()

    assert frames(CAMERA, 0) == frames(Sensor(640, 480), 100_000)


@given(
    words=st.lists(st.integers(0, 3), min_size=1, max_size=10),
    start=st.integers(-(1 << 45), 1 << 45),
    lost=st.dictionaries(st.sampled_from(["queue", "age", "overlap", "crash"]), st.integers(0, (1 << 63) - 1)),
)
def test_lengths_are_the_same_for_all_words_times_and_losses(words, start, lost):
    with publishing() as (publisher, out):
        for seq, word in enumerate(words):
            publisher.take(chosen(word, seq, start_us=(start + 20 * seq) * STEP_US, lost=lost))
        lengths = {(frames[0], *map(len, frames)) for frames in out()}
    with publishing() as (publisher, out):
        publisher.take(chosen(3))
        assert lengths == {(frames[0], *map(len, frames)) for frames in out()}
    assert len(lengths) == 3


def test_the_payload_of_events_is_as_long_as_the_longest_step_of_the_book():
    longest = max(np.diff(BOOK.starts))
    sizes = {len(payload) for word in range(4) for topic, _, payload in published(word) if topic == b"events"}
    assert sizes == {13 * longest}


def test_streams_are_limited_apart():
    with publishing(changes=1) as (publisher, out):
        for seq in range(4):
            publisher.take(chosen(seq % 2, seq, stream="a"))
            publisher.take(chosen(2, seq, stream="b"))
        frames = out()
    by_stream = {
        stream: [json.loads(h)["word"] for t, h, _ in frames if t == b"window" and json.loads(h)["stream"] == stream]
        for stream in "ab"
    }
    assert by_stream == {"a": [0, 0, 0, 0], "b": [2, 2, 2, 2]}


def test_a_restarted_publisher_repeats_the_last_word_for_a_second():
    counters = stage_counters("publish")
    with publishing(counters=counters) as (publisher, out):
        for seq, word in enumerate((0, 1)):
            publisher.take(chosen(word, seq))
        before = words_of(out())
    counters.life += 1
    with publishing(counters=counters) as (publisher, out):
        for seq in range(2, 30):
            publisher.take(chosen(seq % 2 * 3, seq))
        frames = out()
    words = words_of(frames)
    assert before == [0, 1]
    assert words[:10] == [1] * 10
    assert words[10] in (0, 3)
    assert most_changes_in_a_second(before + words) <= 2
    assert {json.loads(header)["life"] for _, header, _ in frames} == {2}


def test_a_withheld_word_changes_nothing():
    """A word that came too late, or whose step was published already, is not known to the limiter either."""
    with publishing(changes=1, max_age_ms=100) as (publisher, out):
        publisher.take(chosen(0, 0))
        late = replace(where(1), ended_ns=NOW_NS - 200_000_000)
        publisher.take(StageMessage("0", SEAL.set_word(late, 1)))
        publisher.take(chosen(1, 2, start_us=0))
        publisher.take(chosen(1, 3, start_us=12 * STEP_US))
        frames = out()
    assert words_of(frames) == [0, 1]
    assert json.loads(frames[-1][1])["lost"] == {"age": 1, "overlap": 1}


def test_no_text_of_a_window_posing_as_a_word_holds_values():
    window = AnonymizedWindow(where(1), np.full((2, 3, 4), 31_337, np.float32), bytes(32))
    message = chosen(1, 1)
    message.window = window
    assert "31337" not in sent(message)
