"""A subscriber with the book counts how often the word changes, and holds it against the bits in the headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline_helpers import publisher, state, window_header
from stand_in_helpers import STEP_US, stand_in_book

from eventveil.errors import BookError
from eventveil.models.rate_limit import WordLimiter
from eventveil.stream import subscribe
from eventveil.stream.protocol.wire import Geometry, Message, encode
from eventveil.stream.subscriber.client import UNSEEN
from eventveil.stream.subscriber.rate_check import RateCheck

BOOK = stand_in_book()
# log2 of 1 + 10 * 3, and of that + 45 * 9, rounded up: one and two changes among ten steps, four words
BITS = {1: 4.96, 2: 8.77}


def header(seq, word, changes, **changed):
    words = {"book": BOOK.digest, "word": word, "bits_per_second": BITS[changes]}
    times = {"seq": seq, "t_start_us": seq * STEP_US, "t_end_us": (seq + 1) * STEP_US}
    return window_header(**(words | times | changed))


def check(words, changes, missing=None, **changed):
    rate = RateCheck(BOOK, UNSEEN)
    for seq, word in enumerate(words):
        lost = {} if missing is None else missing.get(seq, {})
        rate.check(Message("window", header(seq, word, changes, **changed), None, lost))


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ([0, 1, 0], 1),
        ([0] * 5 + [1] * 9 + [0], 1),
        ([0, 1, 0, 1], 2),
        ([0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3], 2),
    ],
)
def test_words_that_change_too_often_are_refused(words, changes):
    with pytest.raises(BookError, match=f"changed {changes + 1} times within a second, .* which allow {changes}"):
        check(words, changes)
    check(words[:-1], changes)
    check([*words[:-1], words[-2]], changes)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.sampled_from([1, 2]))
def test_what_a_publisher_lets_through_is_accepted(wanted, changes):
    limiter = WordLimiter(changes)
    check([limiter.limit(word, seq * STEP_US) for seq, word in enumerate(wanted)], changes)


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=60),
    st.sets(st.integers(0, 59)),
    st.sampled_from([1, 2]),
    st.sampled_from(["network", "crash", "certificate"]),
)
def test_what_is_lost_on_its_way_is_not_a_violation(wanted, lost, changes, reason):
    limiter, rate, before = WordLimiter(changes), RateCheck(BOOK, UNSEEN), 0
    for seq, word in enumerate(wanted):
        shown = limiter.limit(word, seq * STEP_US)
        if seq in lost:
            before += 1
            continue
        rate.check(Message("window", header(seq, shown, changes), None, {reason: before} if before else {}))
        before = 0


def test_windows_that_were_never_published_change_nothing():
    with pytest.raises(BookError, match="changed 2 times"):
        check([0, 1, 0], 1, missing={1: {"age": 3}, 2: {"queue": 1, "overlap": 2}})


def test_streams_and_runs_are_counted_apart():
    rate = RateCheck(BOOK, UNSEEN)
    for seq in range(6):
        for topic, stream, run in (("window", "a", "1"), ("gesture", "a", "1"), ("window", "b", "1")):
            word = (stream == "b") + (seq > 3)
            rate.check(Message(topic, header(seq, word, 1, stream=stream, run=run * 16), None))
    for seq in range(3):
        rate.check(Message("window", header(0, seq, 1, stream="a", run=f"{seq + 2:x}" * 16), None))


def test_topics_with_words_of_their_own_are_refused():
    """Window, events and gesture would carry three times the bits that the headers state."""
    rate = RateCheck(BOOK, UNSEEN)
    for topic, word in (("window", 0), ("events", 1)):
        rate.check(Message(topic, header(0, word, 1), None))
    with pytest.raises(BookError, match="changed 2 times within a second"):
        rate.check(Message("gesture", header(0, 2, 1), None))


@pytest.mark.parametrize(("first", "then"), [(1, 2), (2, 1)])
def test_a_pipeline_that_states_other_bits_than_before_is_refused(first, then):
    """It could state few bits to somebody who only looks once, and be held to many."""
    rate = RateCheck(BOOK, UNSEEN)
    rate.check(Message("window", header(0, 0, first), None))
    with pytest.raises(BookError, match=f"stated {BITS[first]} bits per second and now states {BITS[then]}"):
        rate.check(Message("window", header(1, 1, then), None))


@pytest.mark.parametrize("bits", [0.0, 8.76, 8.78, 20.01, 1e300])
def test_bits_of_no_number_of_changes_are_refused(bits):
    with pytest.raises(BookError, match="not those of this book with any number of changes"):
        check([0], 2, bits_per_second=bits)


def test_a_pipeline_that_flickers_ends_a_subscription():
    sensor = Geometry(width=BOOK.sensor.width, height=BOOK.sensor.height)
    messages = []
    for seq, word in enumerate((0, 1, 0, 1)):
        values = BOOK.window(word, seq * STEP_US)
        messages.append([bytes(one) for one in encode(header(seq, word, 2, sensor=sensor, shape=values.shape), values)])
    with publisher(*messages[:3], state(), topics=2) as endpoint:
        assert len(list(subscribe(endpoint, ["window"], book=BOOK, timeout_s=60))) == 4
    with publisher(*messages, state(), topics=2) as endpoint, pytest.raises(BookError, match="changed 3 times"):
        list(subscribe(endpoint, ["window"], book=BOOK, timeout_s=60))
