"""Clocks that wrap, with readings that damaged bits have set: those alone are left out, and nothing is shifted."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from reference_clock import follow

from eventveil.io.formats.clock import CONFIRMATIONS, LEFT_OUT, Clock, find_words

CLOCKS = {"DAT": (32, 1, 1_000_000), "EVT2": (28, 64, 1_000), "EVT3": (12, 4096, 1_000)}


def read(clock, readings, cuts=()):
    """Return the times of a clock that gets its readings in pieces, as a decoder does; None for those left out."""
    readings, pending, times = np.array(readings, np.int64), np.empty(0, np.int64), []
    edges = [0, *sorted(cut % (len(readings) + 1) for cut in cuts), len(readings)]
    for start, stop in pairwise(edges):
        pending = np.concatenate((pending, readings[start:stop]))
        got, decided = clock.follow(pending, final=False)
        times += got.tolist()
        pending = pending[decided:]
    got, decided = clock.follow(pending, final=True)
    assert decided == len(pending)
    return [None if time == LEFT_OUT else time for time in times + got.tolist()]


def ticks_of(name):
    """Readings of every kind: close together, far apart, around the wrap, anything."""
    bits, tick_us, near_us = CLOCKS[name]
    top, near = (1 << bits) - 1, max(1, near_us // tick_us)
    step = st.one_of(
        st.integers(0, 3),
        st.integers(-near - 1, near + 1),
        st.integers(0, top),
        st.sampled_from([top // 2, top // 2 + 1, -1, near, near + 1, -near, -near - 1]),
    )
    start = st.one_of(st.integers(0, 5), st.integers(top - 5, top), st.integers(0, top))
    return st.tuples(start, st.lists(step, max_size=40)).map(
        lambda made: [int(reading) for reading in np.cumsum([made[0], *made[1]]) % (top + 1)]
    )


@pytest.mark.kernel
@pytest.mark.parametrize("name", CLOCKS)
def test_a_clock_is_that_of_the_slow_twin_wherever_it_is_cut(name):
    bits, tick_us, near_us = CLOCKS[name]

    @given(ticks_of(name), st.lists(st.integers(0, 50), max_size=4))
    def check(readings, cuts):
        assert read(Clock(bits, tick_us, near_us, 7), readings, cuts) == follow(readings, bits, tick_us, near_us, 7)

    check()


@pytest.mark.kernel
@given(
    st.lists(st.integers(0, 900_000), min_size=30, max_size=120),
    st.integers(0, 2**32 - 1),
    st.sets(st.integers(0, 11), max_size=8),
    st.data(),
)
def test_planted_outliers_alone_are_left_out(steps, start, places, data):
    """Every tenth reading at most is damaged, anywhere, and the clock may wrap anywhere."""
    times = start + np.cumsum(steps)
    readings = (times % 2**32).tolist()
    expected = times.tolist()
    for place in {10 * place + 5 for place in places if 10 * place + 5 < len(readings) - 1}:
        bit = data.draw(st.integers(22, 31))  # flips of lower bits are steps of up to two seconds: not far enough
        readings[place] ^= 1 << bit
        expected[place] = None
    assert read(Clock(32, 1, 1_000_000), readings) == expected


@pytest.mark.kernel
@pytest.mark.parametrize("name", CLOCKS)
@pytest.mark.parametrize("bit", range(12))
def test_each_bit_of_a_clock_may_flip(name, bit):
    bits, tick_us, near_us = CLOCKS[name]
    bit += bits - 12
    near = max(1, near_us // tick_us)
    for start in (0, 1 << bits - 1, (1 << bits) - 20):
        readings = [(start + k) % (1 << bits) for k in range(40)]
        readings[20] ^= 1 << bit
        got = read(Clock(bits, tick_us, near_us), readings)
        far = 1 << bit > near + 1
        assert [time for k, time in enumerate(got) if k != 20] == [(start + k) * tick_us for k in range(40) if k != 20]
        assert (got[20] is None) == far


@pytest.mark.kernel
def test_the_clocks_of_the_reports():
    later = list(range(100, 1_000, 100))
    dat = [5, 3_000_000_000, 0, *later]
    assert read(Clock(32, 1, 1_000_000), dat) == [5, None, 0, *later]
    aedat2 = [*range(0, 99_000, 1_000), 3_000_000_000, *range(100_000, 110_000, 1_000)]
    assert read(Clock(32, 1, 1_000_000), aedat2) == [None if t == 3_000_000_000 else t for t in aedat2]


@pytest.mark.kernel
def test_a_silence_of_any_length_is_confirmed_by_what_follows():
    readings = [0, 1, 4_000_000_000, *range(4_000_000_001, 4_000_000_020)]
    assert read(Clock(32, 1, 1_000_000), readings) == readings
    assert read(Clock(32, 1, 1_000_000), readings[:4]) == readings[:4]
    assert read(Clock(32, 1, 1_000_000), readings[:3]) == [0, 1, None]  # nothing confirms it
    assert read(Clock(32, 1, 1_000_000), [0, 1, 59_000_000]) == [0, 1, 59_000_000]


@pytest.mark.kernel
def test_one_event_every_twenty_seconds_is_a_recording_too():
    times = np.arange(0, 3 * 2**32, 20_000_000)
    assert read(Clock(32, 1, 1_000_000), (times % 2**32).tolist(), [3, 40, 41]) == times.tolist()


@pytest.mark.kernel
def test_a_clock_that_is_set_back_is_passed_on_as_it_is():
    readings = [10_000_000_00 + k for k in range(20)] + list(range(20))
    assert read(Clock(32, 1, 1_000_000), readings) == readings


@pytest.mark.kernel
def test_stale_readings_at_the_start_are_left_out():
    readings = [3_000_000_000, 3_000_000_001, *range(30)]
    assert read(Clock(32, 1, 1_000_000), readings) == [None, None, *range(30)]


@pytest.mark.kernel
def test_a_single_reading_long_before_all_others_is_left_out():
    later = [2_000_000_000 + 100 * k for k in range(12)]
    assert read(Clock(32, 1, 1_000_000), [0, *later]) == [None, *later]
    assert read(Clock(32, 1, 1_000_000), [0, *later[:2]]) == [None, *later[:2]]
    sparse = [0, 100_000_000, 200_000_000, 300_000_000]
    assert read(Clock(32, 1, 1_000_000), sparse)[:3] == sparse[:3]
    assert read(Clock(32, 1, 1_000_000), [0, 59_000_000, 59_000_001]) == [0, 59_000_000, 59_000_001]


@pytest.mark.kernel
@pytest.mark.parametrize("place", range(1, 12))
def test_an_early_outlier_does_not_set_the_clock_back(place):
    readings = [2_000_000_000 + 100 * k for k in range(12)]
    expected = [*readings[:place], None, *readings[place + 1 :]]
    readings[place] = 5
    assert read(Clock(32, 1, 1_000_000), readings) == expected


@pytest.mark.kernel
def test_a_reading_from_before_the_wrap_may_come_after_it():
    top = 2**32
    readings = [top - 3, top - 1, 2, top - 2, 5]
    assert read(Clock(32, 1, 1_000_000), readings) == [top - 3, top - 1, top + 2, top - 2, top + 5]


@pytest.mark.kernel
def test_no_more_than_the_confirmations_are_held_back():
    clock = Clock(32, 1, 1_000_000)
    readings = np.array([0, *range(2_000_000_000, 2_000_000_000 + CONFIRMATIONS)], np.int64)
    assert clock.follow(np.arange(20), final=False)[1] == 20
    assert clock.follow(readings[1:], final=False)[1] == 0
    assert clock.follow(np.append(readings[1:], readings[-1] + 1), final=False)[1] == CONFIRMATIONS + 1


@pytest.mark.kernel
@given(st.lists(st.integers(-(2**15), 2**15 - 1), max_size=50))
@example([-1])
def test_words_of_a_type_are_found(words):
    array, places = np.array(words, np.int16), np.empty(len(words) + 1, np.int64)
    n = find_words(array, 12, 8, places)
    assert places[:n].tolist() == [k for k, word in enumerate(words) if (word % 2**16) >> 12 == 8]
