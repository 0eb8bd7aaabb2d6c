"""When a moment of a camera's stream happened here: near the earliest arrivals, and moved by none of them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventveil.io.camera.offset import EARLY_NS, SLEW_PPM, SPAN_NS, ClockOffset

MS, S = 1_000_000, 1_000_000_000  # in nanoseconds
START_NS = 7_000 * S  # of the stream, on this machine's clock
WINDOW_US = 100_000


def replay(arrivals, windows):
    """Return when each window ends: `arrivals` are (time in us, delay in ns) of events, in order of their times."""
    offset, waiting, ends = ClockOffset(), sorted(arrivals), []
    offset.start(0, START_NS)
    for number in range(1, windows + 1):
        while waiting and waiting[0][0] < number * WINDOW_US:
            t_us, delay_ns = waiting.pop(0)
            offset.observe(t_us, START_NS + t_us * 1000 + delay_ns)
        ends.append(offset.at_ns(number * WINDOW_US))
    return ends


ARRIVALS = st.lists(st.tuples(st.integers(0, 30_000_000), st.integers(-EARLY_NS // 2, 10 * S)), max_size=60)


@given(ARRIVALS)
def test_no_arrival_moves_the_end_of_a_window_by_more_than_clocks_drift(arrivals):
    ends = [START_NS, *replay(arrivals, 300)]
    for one, other in pairwise(ends):
        assert abs(other - one - WINDOW_US * 1000) <= WINDOW_US * SLEW_PPM // 1000


@given(ARRIVALS)
def test_the_estimate_moves_towards_the_earliest_arrival_of_the_last_minute(arrivals):
    """The slow twin looks at all arrivals each time. (All of them are within a minute.)"""
    offset_ns = START_NS
    expected = []
    for number in range(1, 301):
        early = [delay_ns for t_us, delay_ns in arrivals if t_us < number * WINDOW_US]
        if early:
            distance_ns = START_NS + min(early) - offset_ns
            most_ns = WINDOW_US * SLEW_PPM // 1000
            offset_ns += min(max(distance_ns, -most_ns), most_ns)
        expected.append(number * WINDOW_US * 1000 + offset_ns)
    assert replay(arrivals, 300) == expected


def test_an_early_arrival_is_forgotten_after_a_minute():
    offset = ClockOffset()
    offset.observe(0, 0)
    late_us = SPAN_NS // 1000 + 1
    offset.observe(late_us, late_us * 1000 + 5 * MS)
    assert offset.at_ns(late_us) == late_us * 1000 + 5 * MS  # after a minute, it may have moved by 12 ms


@pytest.mark.parametrize("ppm", [-100, 100])
def test_a_clock_that_drifts_is_followed(ppm):
    offset = ClockOffset()
    for number in range(6_000):  # ten minutes
        t_us = number * WINDOW_US
        offset.observe(t_us, t_us * 1000 + t_us * ppm // 1000 + (number % 7) * MS)
        end_ns = offset.at_ns(t_us)
        assert abs(end_ns - t_us * 1000 - t_us * ppm // 1000) < 10 * MS


def test_events_from_the_future_prove_the_estimate_wrong():
    offset = ClockOffset()
    offset.observe(0, S)
    offset.observe(30_000_000, 2 * S)  # the camera's clock was set
    assert offset.at_ns(30_000_000) == 2 * S


def test_the_first_event_starts_it():
    offset = ClockOffset()
    offset.observe(5_000_000, 9 * S)
    assert offset.at_ns(5_100_000) == 9 * S + 100 * MS
