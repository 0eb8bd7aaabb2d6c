"""A playlist as one long stream: every event once, at its exact time, in times that never decrease."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import cuts, timed

from eventveil import EventPacket, Sensor
from eventveil.errors import DatasetError, EventFileError
from eventveil.replay.ground_truth import MAX_SPANS
from eventveil.replay.player.player import Excerpt, Player
from eventveil.replay.playlist import Clip, Playlist

SENSOR = Sensor(7, 5)


def packet_at(*times_us, mark=0):
    """Return events whose x marks the clip that they belong to."""
    return EventPacket.of(times_us, np.full(len(times_us), mark), np.zeros(len(times_us)), np.zeros(len(times_us)))


class Reel:
    """A clip that counts how often it is opened and closed."""

    def __init__(self, *packets, duration_us=0, label=None, subject=None, fault=None):
        self.packets = packets
        self.fault = fault
        self.opened = self.closed = 0
        self.clip = Clip(self.open, duration_us, label, subject)

    @contextmanager
    def open(self):
        self.opened += 1
        try:
            yield self.play()
        finally:
            self.closed += 1

    def play(self):
        yield from self.packets
        if self.fault is not None:
            raise self.fault


def playlist(*reels, begins_us=0, public_error=None):
    return Playlist(SENSOR, lambda _: [reel.clip for reel in reels], begins_us, public_error)


def played(*reels, begins_us=0, **excerpt):
    return list(Player(playlist(*reels, begins_us=begins_us), Excerpt(**excerpt)))


def times(packets):
    return np.concatenate([EventPacket.empty().t, *(packet.t for packet in packets)]).tolist()


def test_clips_follow_each_other_with_a_gap():
    one, other = Reel(packet_at(700, 900)), Reel(packet_at(-50, -20), packet_at(10))
    assert times(played(one, other, gap_us=1_000)) == [0, 200, 1_200, 1_230, 1_260]
    assert (one.opened, one.closed, other.opened, other.closed) == (1, 1, 1, 1)


def test_a_clip_lasts_as_long_as_it_says_or_its_events_or_guarantees_reach():
    long = Reel(packet_at(0, 10), duration_us=50)
    short = Reel(packet_at(0, 10), duration_us=5)
    promising = Reel(packet_at(0), timed(packet_at(), 40))
    assert times(played(long, Reel(packet_at(0)))) == [0, 10, 50]
    assert times(played(short, Reel(packet_at(0)))) == [0, 10, 10]
    assert times(played(promising, Reel(packet_at(0)))) == [0, 40]


def test_a_clip_without_events_lasts_as_long_as_it_says():
    assert times(played(Reel(duration_us=30), Reel(timed(packet_at(), 99)), Reel(packet_at(5)), gap_us=1)) == [32]


def test_a_recording_keeps_its_times_and_its_arrays():
    packet = timed(packet_at(-900, 10**15), 10**15 + 7)
    assert played(Reel(packet), begins_us=None)[0] is packet


def test_a_looped_recording_goes_on_after_itself():
    stream = iter(Player(playlist(Reel(packet_at(100, 150)), begins_us=None), Excerpt(loop=True, gap_us=20)))
    assert times(islice(stream, 3)) == [100, 150, 170, 220, 240, 290]


def test_a_loop_over_nothing_ends():
    assert played(Reel(), begins_us=None, loop=True) == []
    assert times(played(Reel(packet_at(0, 10)), loop=True, start_us=11)) == []


def test_a_loop_over_one_event_moves_on():
    stream = iter(Player(playlist(Reel(packet_at(5))), Excerpt(loop=True)))
    assert times(islice(stream, 3)) == [0, 1, 2]


def test_start_is_included_and_stop_is_not():
    got = played(Reel(packet_at(100, 110, 120, 130)), begins_us=None, start_us=10, stop_us=30)
    assert times(got) == [110, 120]
    assert got[-1].until_us == 130


def test_a_promise_keeps_within_the_excerpt():
    reel = Reel(timed(packet_at(0), 8), timed(packet_at(), 15), timed(packet_at(20), 25), timed(packet_at(), 90))
    got = played(reel, start_us=10, stop_us=30)
    assert [(packet.t.tolist(), packet.until_us) for packet in got] == [
        ([], None),
        ([], 15),
        ([20], 25),
        ([], 30),
    ]


def test_what_lies_after_the_stop_is_not_read():
    fault = EventFileError("a", format=None, expected="", remedy="")
    reel, later = Reel(packet_at(0, 50), fault=fault), Reel(fault=fault)
    assert times(played(reel, later, stop_us=50)) == [0]
    assert (reel.closed, later.opened) == (1, 0)


def test_what_lies_before_the_start_is_not_opened_where_its_length_is_known():
    before, at = Reel(packet_at(0, 9), duration_us=10), Reel(packet_at(0, 9), duration_us=10)
    assert times(played(before, at, start_us=11, gap_us=2)) == [12, 21]
    assert before.opened == 0


def test_an_excerpt_is_looped_as_such():
    stream = iter(
        Player(playlist(Reel(packet_at(0, 10, 20, 30))), Excerpt(loop=True, start_us=10, stop_us=30, gap_us=5))
    )
    assert times(islice(stream, 3)) == [10, 20, 35, 45, 60, 70]


def test_a_player_that_is_left_closes_what_is_open():
    reel = Reel(packet_at(0), packet_at(1))
    packets = iter(Player(playlist(reel), Excerpt()))
    next(packets)
    packets.close()
    assert reel.closed == 1


def test_an_error_is_passed_on_or_replaced_by_that_of_the_playlist():
    fault = EventFileError("user07.npy", format=None, expected="broken", remedy="none")
    reel = Reel(packet_at(0), fault=fault)
    packets = iter(Player(playlist(reel), Excerpt()))
    next(packets)
    with pytest.raises(EventFileError):
        next(packets)
    packets = iter(Player(playlist(reel, public_error="not all can be read"), Excerpt()))
    next(packets)
    with pytest.raises(DatasetError) as caught:
        next(packets)
    assert str(caught.value) == "not all can be read"
    assert caught.value.__suppress_context__


STEPS = st.lists(st.sampled_from([0, 0, 1, 7, 30]), min_size=1, max_size=6)
SPARE = st.sampled_from([None, 0, 20, 200])  # between the last event and the end; None: the length is unknown
PIECES = st.lists(st.tuples(st.integers(-40, 40), STEPS, SPARE), min_size=1, max_size=4)


def length(steps, spare):
    return 0 if spare is None else sum(steps[1:]) + spare


def straight(clips, gap_us):
    """The slow twin: times and marks of one pass from 0, and the end of the last clip."""
    t, marks, at, end = [], [], 0, 0
    for mark, (_, steps, spare) in enumerate(clips):
        clip_t = [at + sum(steps[1 : k + 1]) for k in range(len(steps))]
        t += clip_t
        marks += [mark] * len(clip_t)
        end = max(at + length(steps, spare), clip_t[-1])
        at = end + gap_us
    return np.array(t), np.array(marks), end


def reels(data, clips):
    made = []
    for mark, (first, steps, spare) in enumerate(clips):
        whole = packet_at(*(first + np.cumsum([0, *steps[1:]])), mark=mark)
        made.append(Reel(*data.draw(cuts(whole)), duration_us=length(steps, spare)))
    return made


@given(PIECES, st.sampled_from([0, 1, 50]), st.integers(0, 120), st.one_of(st.none(), st.integers(1, 300)), st.data())
def test_an_excerpt_holds_exactly_the_events_from_start_to_stop(clips, gap_us, start_us, length_us, data):
    stop_us = None if length_us is None else start_us + length_us
    got = played(*reels(data, clips), start_us=start_us, stop_us=stop_us, gap_us=gap_us)
    t, marks, _ = straight(clips, gap_us)
    inside = (t >= start_us) & (t < (np.inf if stop_us is None else stop_us))
    assert times(got) == t[inside].tolist()
    assert np.concatenate([EventPacket.empty().x, *(packet.x for packet in got)]).tolist() == marks[inside].tolist()


@given(PIECES, st.sampled_from([0, 1, 50]), st.data())
def test_a_loop_loses_nothing_and_repeats_itself(clips, gap_us, data):
    made = reels(data, clips)
    t, _, end = straight(clips, gap_us)
    got = []
    for packet in Player(playlist(*made), Excerpt(loop=True, gap_us=gap_us)):
        got += packet.t.tolist()
        if len(got) >= 3 * len(t):
            break
    pass_us = end + max(gap_us, 1)
    assert got[: 3 * len(t)] == [*t, *(t + pass_us), *(t + 2 * pass_us)]


@given(PIECES, st.integers(0, 60), st.integers(1, 200), st.booleans(), st.data())
def test_times_never_decrease_and_promises_hold(clips, start_us, length_us, loop, data):
    made = reels(data, clips)
    for reel in made:
        # `until_us` of each packet is its last event; of the last packet, a little later.
        ends = [int(packet.t[-1]) for packet in reel.packets if len(packet)]
        reel.packets = [
            timed(packet, int(packet.t[-1])) if len(packet) and data.draw(st.booleans()) else packet
            for packet in reel.packets
        ]
        reel.packets.append(timed(packet_at(), ends[-1] + data.draw(st.integers(0, 30))))
    excerpt = Excerpt(start_us=start_us, stop_us=start_us + length_us, loop=loop, gap_us=3)
    last = promised = -(10**9)
    for packet in islice(Player(playlist(*made), excerpt), 60):
        assert (np.diff(packet.t) >= 0).all()
        if len(packet):
            assert packet.t[0] >= max(last, promised)
            last = int(packet.t[-1])
        if packet.until_us is not None:
            promised = max(promised, packet.until_us)


def test_the_truth_of_a_window_is_what_fills_most_of_it():
    one = Reel(packet_at(0, 99), duration_us=100, label="wave", subject="a")
    other = Reel(packet_at(0, 49), duration_us=50, label="clap", subject="b")
    player = Player(playlist(one, other), Excerpt(gap_us=40))
    list(player)
    spans = [player.truth.of(start, start + 60) for start in range(0, 240, 10)]
    assert [span and span.label for span in spans] == (
        # wave until 100, clap from 140 to 190; None where the gap fills most
        ["wave"] * 8 + [None] * 3 + ["clap"] * 6 + [None] * 7
    )
    assert {(span.trial, span.label, span.subject, span.start_us, span.end_us) for span in spans if span} == {
        (0, "wave", "a", 0, 100),
        (1, "clap", "b", 140, 190),
    }


def test_the_truth_that_nobody_asks_for_is_forgotten():
    trials = [Reel(packet_at(0, 99), duration_us=100, label="wave", subject="a") for _ in range(MAX_SPANS + 9)]
    player = Player(playlist(*trials), Excerpt())
    list(player)
    assert len(player.truth._spans) == MAX_SPANS
    last_us = 100 * (len(trials) - 1)
    assert player.truth.of(last_us, last_us + 100).trial == len(trials) - 1
