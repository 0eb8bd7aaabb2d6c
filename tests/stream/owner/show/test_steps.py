"""A source in steps of a tenth of a second: every event once, in its step, whatever the packets."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventveil import EventPacket
from eventveil.stream.owner.show.steps import LONGEST_SILENCE, STEP_US, LongSilenceError, in_steps


def packets_of(t, cuts):
    zeros = np.zeros(len(t), np.int64)
    packet = EventPacket.of(t, zeros, zeros, zeros)
    bounds = [0, *sorted(cuts), len(t)]
    return [packet[low:high] for low, high in pairwise(bounds)]


@given(
    t=st.lists(st.integers(-300_000, 2_000_000), min_size=1, max_size=40).map(sorted),
    cuts=st.lists(st.integers(0, 40), max_size=4),
)
def test_each_event_is_in_the_step_of_its_time(t, cuts):
    steps = list(in_steps(iter(packets_of(t, [min(cut, len(t)) for cut in cuts]))))
    assert np.concatenate([step.t for step in steps]).tolist() == t
    ends = [step.until_us for step in steps]
    assert ends == list(range(ends[0], ends[0] + STEP_US * len(ends), STEP_US))
    assert ends[0] % STEP_US == 0
    for step in steps:
        assert all(step.until_us - STEP_US <= moment < step.until_us for moment in step.t)


def test_time_passes_while_nothing_moves():
    quiet = [EventPacket.of([10], [0], [0], [1]), EventPacket.empty(450_000), EventPacket.empty(700_000)]
    assert [(len(step), step.until_us) for step in in_steps(iter(quiet))] == [
        (1, 100_000), (0, 200_000), (0, 300_000), (0, 400_000), (0, 500_000), (0, 600_000), (0, 700_000),
    ]  # fmt: skip
    assert not list(in_steps(iter([EventPacket.empty(10**9)])))


def test_years_of_silence_end_it():
    steps = []
    with pytest.raises(LongSilenceError):
        steps.extend(in_steps(iter(packets_of([0, 10**14], [1]))))
    last = LONGEST_SILENCE * STEP_US
    assert [step.until_us for step in in_steps(iter(packets_of([0, last], [1])))][-1] == last + STEP_US


def test_it_ends_when_it_is_stopped():
    endless = iter(lambda: EventPacket.of([5], [0], [0], [1]), None)
    assert list(in_steps(endless, stop=lambda: True)) == []
