"""The limit of words: never more than N changes in any second, and no more bits than stated."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventveil.models.rate_limit import WordLimiter, bits_per_second

SECOND_US = 1_000_000
REQUESTS = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 700_000)), min_size=1, max_size=60)


def limited(limiter, requests, start_us=0):
    """Return the published words with their times; requests are words and the time since the one before."""
    t_us, published = start_us, []
    for word, pause_us in requests:
        t_us += pause_us
        published.append((t_us, limiter.limit(word, t_us)))
    return published


def changes(published, before=None):
    """Return the times of all changes; the first word is one unless it is the word before."""
    words = [before, *(word for _, word in published)]
    return [t_us for (t_us, word), last in zip(published, words, strict=False) if word != last]


def most_in_a_second(times_us):
    return max((sum(start <= t < start + SECOND_US for t in times_us) for start in times_us), default=0)


@given(requests=REQUESTS, limit=st.integers(1, 4), start_us=st.integers(-(1 << 62), 1 << 62))
def test_a_word_changes_at_most_n_times_in_any_second(requests, limit, start_us):
    published = limited(WordLimiter(limit), requests, start_us)
    assert most_in_a_second(changes(published)) <= limit
    assert {word for _, word in published} <= {word for word, _ in requests}


@given(before=REQUESTS, after=REQUESTS, limit=st.integers(1, 3))
def test_a_restart_allows_no_further_change(before, after, limit):
    first = limited(WordLimiter(limit), before)
    second = limited(WordLimiter(limit, last=first[-1][1]), after, start_us=first[-1][0])
    assert most_in_a_second(changes(first + second)) <= limit


@given(before=REQUESTS, after=REQUESTS, limit=st.integers(1, 3))
def test_nor_does_one_before_which_the_last_window_was_counted_but_never_sent(before, after, limit):
    first = limited(WordLimiter(limit), before)
    second = limited(WordLimiter(limit, last=first[-1][1]), after, start_us=first[-1][0])
    assert most_in_a_second(changes(first[:-1] + second)) <= limit


@given(requests=REQUESTS, limit=st.integers(1, 3))
def test_what_is_allowed_is_published(requests, limit):
    """A change is withheld only if N changes lie within the second before it."""
    published = limited(WordLimiter(limit), requests)
    times = changes(published)
    for (word, _), (t_us, shown) in zip(requests, published, strict=True):
        assert word == shown or sum(t_us - SECOND_US < t <= t_us for t in times) == limit


@pytest.mark.parametrize(("words", "limit", "steps"), [(2, 1, 5), (3, 2, 5), (4, 1, 4), (3, 9, 4), (2, 3, 3)])
def test_the_bits_are_those_of_all_sequences_that_the_limiter_can_publish(words, limit, steps):
    """Count the different outputs for every possible input: after a known word, and of a new stream."""
    times = [n * SECOND_US // steps for n in range(steps)]
    for first in (None, 0):
        outputs = set()
        for wanted in itertools.product(range(words), repeat=steps):
            limiter = WordLimiter(limit)
            if first is not None:
                limiter.limit(first, -10 * SECOND_US)
            outputs.add(tuple(limiter.limit(word, t_us) for word, t_us in zip(wanted, times, strict=True)))
        bits, stated = math.log2(len(outputs)), bits_per_second(words, limit, steps)
        assert bits <= stated
        assert first is None or stated - bits < 0.01  # after a known word it is exact


def test_a_book_of_one_word_says_nothing():
    assert bits_per_second(1, 5, 10) == 0
