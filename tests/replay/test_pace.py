"""The pace of a replay, with a fake clock: exact, without drift, and with valid `until_us`."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import cuts, records, timed

from eventveil import EventPacket
from eventveil.replay.player.pace import SLICE_S, Pace, paced

SLICE_US = round(SLICE_S * 1e6)


class Clock:
    """A clock that advances only by sleeping, or where the test sets it."""

    def __init__(self, now=1000.0):
        self.now = now
        self.naps = 0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        assert seconds > 0
        self.naps += 1
        self.now += seconds


def packet_at(*times_us):
    n = len(times_us)
    return EventPacket.of(times_us, np.arange(n) % 7, np.arange(n) % 5, np.arange(n) % 2)


def played(packets, *, speed=1.0):
    """Return the released packets, each with its release time in microseconds since the start."""
    clock = Clock()
    return [
        (round((clock.now - 1000.0) * 1e6), packet) for packet in paced(packets, Pace(speed, clock), sleep=clock.sleep)
    ]


def joined(packets):
    parts = [*packets, EventPacket.empty()]
    return [np.concatenate([getattr(part, name) for part in parts]) for name in "txyp"]


def test_events_are_held_back_until_they_happened():
    got = played([packet_at(500, 700), packet_at(700, 4_000)])
    assert [(at_us, packet.t.tolist(), packet.until_us) for at_us, packet in got] == [
        (200, [500, 700], None),
        (3_500, [700, 4_000], None),
    ]


def test_a_long_packet_is_cut_into_slices_that_say_up_to_when():
    got = played([packet_at(0, 9_999, 10_000, 10_001, 25_000)])
    assert [(at_us, packet.t.tolist(), packet.until_us) for at_us, packet in got] == [
        (10_000, [0, 9_999], 10_000),
        (20_000, [10_000, 10_001], 20_000),
        (25_000, [25_000], None),
    ]


def test_where_nothing_moves_empty_slices_say_that_time_goes_on():
    got = played([packet_at(0), packet_at(45_000)])
    assert [(at_us, len(packet), packet.until_us) for at_us, packet in got] == [
        (0, 1, None),
        (10_000, 0, 10_000),
        (20_000, 0, 20_000),
        (30_000, 0, 30_000),
        (40_000, 0, 40_000),
        (45_000, 1, None),
    ]


@pytest.mark.parametrize("speed", [0.25, 0.5, 2.0, 10.0, 1000.0])
def test_a_speed_changes_the_pace_and_the_length_of_slices(speed):
    got = played([packet_at(*range(0, 100_001, 1_000))], speed=speed)
    assert got[-1][0] == round(100_000 / speed)
    for at_us, packet in got[:-1]:
        assert packet.until_us % round(SLICE_US * speed) == 0
        assert at_us == round(packet.until_us / speed)
    assert len(got) == math.floor(100_000 / (SLICE_US * speed)) + 1


def test_time_begins_with_the_first_event_wherever_it_is():
    for start in (-5_000_000, 0, 7, 10**15):
        got = played([EventPacket.empty(), packet_at(start, start + 15_000)])
        assert [(at_us, packet.until_us) for at_us, packet in got] == [(10_000, start + 10_000), (15_000, None)]


def test_delays_do_not_add_up():
    """With a slow consumer and an inexact sleep, each packet is still timed from the first event."""
    clock = Clock()

    def oversleep(seconds):
        clock.now += seconds + 0.0003

    for packet in paced([packet_at(*range(0, 10_000_001, 777))], Pace(clock=clock), sleep=oversleep):
        assert 0 <= clock.now - 1000.0 - (packet.until_us or packet.t[-1]) / 1e6 < 0.00031
        clock.now += 0.004


def test_a_sleep_that_wakes_too_early_is_slept_again():
    clock = Clock()
    naps = []

    def doze(seconds):
        naps.append(seconds)
        clock.now += min(seconds, 0.003)

    for packet in paced([packet_at(0, 10_000)], Pace(clock=clock), sleep=doze):
        assert clock.now == pytest.approx(1000.0 + (packet.until_us or packet.t[-1]) / 1e6, abs=1e-9)
    assert len(naps) >= 4


def test_a_replay_that_is_late_does_not_sleep():
    clock = Clock()
    for count, _ in enumerate(paced([packet_at(*range(0, 50_001, 100))], Pace(clock=clock), sleep=clock.sleep)):
        if count == 0:
            clock.now += 60
    assert clock.naps == 1


def test_without_events_nothing_comes_and_nobody_waits():
    assert played([]) == []
    assert played([EventPacket.empty(), EventPacket.empty(until_us=10**9)]) == []


def test_packets_are_taken_one_by_one():
    def endless():
        for start in range(0, 10**9, 1_000):
            taken.append(start)
            yield packet_at(start)

    taken = []
    clock = Clock()
    stream = paced(endless(), Pace(clock=clock), sleep=clock.sleep)
    for count in range(1, 6):
        next(stream)
        assert len(taken) == count


STEPS = st.lists(st.sampled_from([0, 0, 1, 3_333, 9_999, 10_000, 10_001, 47_000]), max_size=40)


def promising(data, parts):
    """Return the packets, some with `until_us` up to the next event."""
    following = [part.t[0] for part in parts if len(part)][1:]
    made = []
    for part in parts:
        if len(part):
            latest = int(following.pop(0)) if following else int(part.t[-1]) + 30_000
            part = timed(part, data.draw(st.sampled_from((None, int(part.t[-1]), latest))))
        made.append(part)
    return made


@given(STEPS, st.data(), st.sampled_from([0.3, 1.0, 2.5]))
def test_whatever_the_cuts_events_come_out_in_order_in_time_and_promises_hold(steps, data, speed):
    whole = packet_at(*(np.cumsum([-20_000, *steps]).tolist()))
    got = played(promising(data, data.draw(cuts(whole))), speed=speed)
    for one, other in zip(joined(packet for _, packet in got), joined([whole]), strict=True):
        np.testing.assert_array_equal(one, other)
    promised = -math.inf
    for at_us, packet in got:
        assert not len(packet) or packet.t[0] >= promised
        if packet.until_us is not None:
            assert packet.until_us >= promised
            assert not len(packet) or packet.t[-1] <= packet.until_us
            promised = packet.until_us
        due_us = (packet.until_us if packet.until_us is not None else packet.t[-1]) + 20_000
        assert at_us == pytest.approx(due_us / speed, abs=1)


def test_strided_events_are_not_copied():
    whole = records(packet_at(*range(0, 30_000, 500)))
    assert all(np.shares_memory(packet.x, whole.x) for _, packet in played([whole]) if len(packet))


def test_what_a_packet_promises_is_kept():
    got = played([timed(packet_at(0, 15_000), 33_000), timed(packet_at(), 35_000), packet_at(36_000)])
    assert [(at_us, packet.t.tolist(), packet.until_us) for at_us, packet in got] == [
        (10_000, [0], 10_000),
        (20_000, [15_000], 20_000),
        (30_000, [], 30_000),
        (33_000, [], 33_000),
        (35_000, [], 35_000),
        (36_000, [36_000], None),
    ]


def test_a_promise_that_was_overtaken_is_not_repeated():
    got = played([timed(packet_at(0, 12_000), 5_000), timed(packet_at(12_000), 12_000)])
    assert [(at_us, packet.t.tolist(), packet.until_us) for at_us, packet in got] == [
        (10_000, [0], 10_000),
        (12_000, [12_000], None),
        (12_000, [12_000], 12_000),
    ]
