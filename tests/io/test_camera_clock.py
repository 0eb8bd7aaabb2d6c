"""A camera's clock becomes the stream's: whatever it does, time never goes back and every event is accounted for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventveil import EventPacket
from eventveil.io.camera.clock import AHEAD_US, BACK_US, CONFIRMED, CameraClock

MS, S = 1_000_000, 1_000_000_000  # in nanoseconds


def packet(*t_us):
    n = len(t_us)
    return EventPacket.of(t_us, [0] * n, [0] * n, [True] * n)


def test_a_clock_that_goes_on_is_the_streams():
    clock = CameraClock(quiet_us=100_000)
    assert clock.place(packet(1_000, 2_000), 5 * S).t.tolist() == [1_000, 2_000]
    assert clock.place(packet(2_000, 9_000), 5 * S + 8 * MS).t.tolist() == [2_000, 9_000]
    assert (clock.jumps, clock.clipped, clock.late) == (0, 0, 0)


@pytest.mark.parametrize("new_us", [0, 17, 900_000, 1_000_000_000_000_000])
def test_a_clock_that_restarts_goes_on_by_that_of_this_machine(new_us):
    clock = CameraClock(quiet_us=100_000)
    clock.place(packet(2_500_000, 3_000_000), 10 * S)
    assert len(clock.place(packet(new_us, new_us + 5), 12 * S)) == 0  # two events may be stale
    assert clock.held == 2
    got = clock.place(packet(new_us + 1_000), 12 * S + MS)
    assert got.t.tolist() == [5_000_000, 5_000_005, 5_001_000]  # two seconds later, as they came two seconds later
    assert (clock.jumps, clock.held, clock.outlying) == (1, 0, 0)
    again_us = new_us - 5_000_000
    got = clock.place(packet(*range(again_us, again_us + CONFIRMED)), 13 * S)  # this many confirm each other
    assert got.t.tolist() == [6_000_000 + k for k in range(CONFIRMED)]
    assert clock.jumps == 2


def test_a_clock_that_wraps_inside_a_packet_goes_on():
    clock = CameraClock(quiet_us=100_000)
    wrap_us = 1 << 24
    got = clock.place(packet(wrap_us - 20, wrap_us - 10, 3, 9), 10 * S)
    assert got.t.tolist() == [wrap_us - 20, wrap_us - 10]
    got = clock.place(packet(20), 10 * S)
    assert got.t.tolist() == [wrap_us - 10, wrap_us - 4, wrap_us + 7]
    assert (clock.jumps, clock.clipped) == (1, 0)


def test_a_small_step_back_is_put_right_and_counted():
    clock = CameraClock(quiet_us=100_000)
    assert clock.place(packet(100, 95, 110), S).t.tolist() == [100, 100, 110]
    assert clock.place(packet(105, 120), S).t.tolist() == [110, 120]
    assert (clock.jumps, clock.clipped) == (0, 2)


def test_a_quiet_camera_goes_on_in_time_behind_this_machine():
    clock = CameraClock(quiet_us=100_000)
    assert clock.quiet(S) is None  # there is no time before the first event
    clock.place(packet(1_000_000), S)
    assert clock.quiet(S + 100 * MS) is None
    assert clock.quiet(S + 350 * MS).until_us == 1_250_000
    assert clock.quiet(S + 350 * MS) is None  # nothing new


def test_events_behind_a_promise_are_left_out_and_counted():
    clock = CameraClock(quiet_us=100_000)
    clock.place(packet(1_000_000), S)
    clock.quiet(S + 350 * MS)
    got = clock.place(packet(1_249_998, 1_249_999, 1_250_000), S + 360 * MS)
    assert got.t.tolist() == [1_250_000]
    assert (clock.late, clock.jumps) == (2, 0)


def test_a_camera_that_comes_back_does_not_fill_windows_that_are_out():
    clock = CameraClock(quiet_us=100_000)
    clock.place(packet(1_000_000), S)
    clock.not_before(1_500_000)
    clock.reconnect()
    assert clock.place(packet(0, 10), S + 200 * MS).t.tolist() == [1_500_000, 1_500_010]


def test_a_clock_that_steps_back_after_a_reconnection_is_a_new_one():
    clock = CameraClock(quiet_us=100_000)
    clock.place(packet(1_000_000), S)
    clock.reconnect()
    assert clock.place(packet(999_999, 1_000_100), 2 * S).t.tolist() == [2_000_000, 2_000_101]
    assert clock.place(packet(1_000_090), 2 * S).t.tolist() == [2_000_101]  # from there on, it is a step back
    assert (clock.jumps, clock.clipped) == (1, 1)


def test_a_network_that_stalled_and_catches_up_has_not_changed_its_clock():
    clock = CameraClock(quiet_us=10_000_000)
    clock.place(packet(1_000_000), S)
    assert clock.place(packet(1_010_000), 8 * S).t.tolist() == [1_010_000]  # seven seconds late
    clock.place(packet(8_000_000), 8 * S + MS)
    assert clock.place(packet(8_000_100), 8 * S + MS).t.tolist() == [8_000_000, 8_000_100]  # and there again
    assert clock.jumps == 0


@pytest.mark.parametrize("at", [0, 3, 9])
@pytest.mark.parametrize("stale_us", [-998_999, -12_000, -40_000_000, 2_500_000, 59_000_000, 10**15])
def test_a_stale_event_is_left_out_and_shifts_nothing(stale_us, at):
    """One per second for ten seconds, anywhere in its packet of ten events."""
    clock = CameraClock(quiet_us=10**9)
    got, sent = [], []
    for k in range(1_000):  # packets of 10 ms
        times = [10_000 * k + 1_000 * n for n in range(10)]
        sent += times
        if k % 100 == 50:
            times = [*times[:at], times[at] + stale_us, *times[at:]]
        got += clock.place(packet(*times), 10 * MS * k + S).t.tolist()
    assert got == sent
    assert (clock.outlying, clock.jumps, clock.clipped, clock.held) == (10, 0, 0, 0)


STEPS_US = st.sampled_from([0, 1, 40, 30_000, -3, -BACK_US, -BACK_US - 1, -5_000_000, AHEAD_US, 2 * AHEAD_US, 10**15])


@given(st.lists(st.lists(STEPS_US, min_size=1, max_size=6), max_size=8), st.lists(st.integers(0, 3 * S), min_size=8))
def test_whatever_a_clock_does_time_never_goes_back_and_no_event_is_lost_uncounted(packets, waits_ns):
    clock = CameraClock(quiet_us=50_000)
    now_ns, time_us, floor_us, sent, got = 0, 0, -(1 << 62), 0, 0
    for steps, wait_ns in zip(packets, waits_ns, strict=False):
        quiet = clock.quiet(now_ns + wait_ns // 2)
        if quiet is not None:
            assert quiet.until_us > floor_us
            floor_us = quiet.until_us
        now_ns += wait_ns
        times = time_us + np.cumsum(steps)
        time_us = int(times[-1])
        placed = clock.place(packet(*times), now_ns)
        sent, got = sent + len(times), got + len(placed)
        assert (np.diff(placed.t) >= 0).all()
        if len(placed):
            assert placed.t[0] >= floor_us
            floor_us = int(placed.t[-1])
        assert sent == got + clock.late + clock.outlying + clock.held
