"""The windows of an epoch: within trials, across them, in batches, and reproducible."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from eventveil.training.data.binned_trials import RowShape
from eventveil.training.data.sampling import at_random, in_batches, in_order
from eventveil.training.data.windows import Windows
from eventveil.training.randomness import numpy_generator, seed_of

SHAPE = RowShape.of(mode="windows", bins=3, bin_us=20_000, offsets=2, size=(1, 1), crop=None)  # windows of 6 rows


@dataclass(frozen=True)
class FakeTrial:
    subject: str
    session: str


def windows(*lengths, sessions=None):
    """Make trials with these numbers of rows, all of one person; every row holds the index of its trial."""
    sessions = sessions or ["led"] * len(lengths)
    rows = np.repeat(np.arange(len(lengths)), lengths).astype(np.uint8)
    trials = tuple(FakeTrial("user01", session) for session in sessions)
    return Windows(SHAPE, trials, np.cumsum([0, *lengths]), rows.reshape(-1, 1, 1, 1) * np.ones((1, 2, 1, 1), np.uint8))


def majority(recording, start):
    """Return the trial that most rows of a window belong to; the earlier one in a tie."""
    rows = recording.rows[start : start + 6, 0, 0, 0].tolist()
    assert len(rows) == 6
    return max(sorted(set(rows)), key=rows.count)


def test_windows_lie_within_their_trial_at_every_offset():
    recording = windows(9, 6, 20)
    draw = at_random(recording, 200, 0.0, numpy_generator(1))
    assert len(draw) == 600
    assert all(majority(recording, start) == trial for start, trial in zip(draw.start, draw.trial, strict=True))
    for trial, starts in enumerate(([0, 1, 2, 3], [9], list(range(15, 30)))):
        assert sorted(set(draw.start[draw.trial == trial])) == starts


def test_windows_across_trials_are_labelled_by_who_fills_most_of_them():
    recording = windows(9, 6, 20)
    draw = at_random(recording, 300, 1.0, numpy_generator(1))
    assert all(majority(recording, start) == trial for start, trial in zip(draw.start, draw.trial, strict=True))
    assert set(draw.start) == set(range(30))
    assert all(sum(draw.trial == trial) > 200 for trial in range(3))


def test_windows_do_not_reach_into_another_session():
    recording = windows(9, 6, 20, sessions=["led", "natural", "natural"])
    draw = at_random(recording, 300, 1.0, numpy_generator(1))
    assert set(draw.start) == {*range(4), *range(9, 30)}


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_as_many_straddle_as_requested(share):
    recording = windows(6, 6, 6)
    draw = at_random(recording, 2_000, share, numpy_generator(2))
    whole = draw.start == recording.first_row[draw.trial]
    # A straddling window has four possible starts at the ends, else seven, one of which lies within its trial.
    assert 1 - share < whole.mean() < 1 - share + share / 3


def test_windows_in_order_are_those_that_a_pipeline_cuts():
    draw = in_order(windows(9, 6, 20), hop=6)
    assert draw.start.tolist() == [0, 9, 15, 21, 27]
    assert draw.trial.tolist() == [0, 1, 2, 2, 2]
    assert in_order(windows(9, 6, 20), hop=2).start.tolist() == [0, 2, 9, *range(15, 30, 2)]


def test_batches_are_whole_and_hold_each_window_once():
    draw = at_random(windows(9, 6, 20), 7, 0.0, numpy_generator(3))
    person = np.zeros(21, np.int64)
    batches = in_batches(draw, person, 4, None, numpy_generator(4))
    assert [len(batch) for batch in batches] == [4] * 5
    batched = sorted((s, t) for batch in batches for s, t in zip(batch.start, batch.trial, strict=True))
    drawn = sorted(zip(draw.start, draw.trial, strict=True))
    assert all(batched.count(pair) <= drawn.count(pair) for pair in batched)


def test_batches_of_people_hold_equal_groups():
    draw = at_random(windows(*[6] * 12), 5, 0.0, numpy_generator(3))
    person = draw.trial // 3  # four people, 15 windows each
    batches = in_batches(draw, person, 8, 2, numpy_generator(4))
    assert len(batches) == 6  # three groups of four for each
    for batch in batches:
        counts = np.bincount(batch.trial // 3)
        assert set(counts[counts > 0]) <= {4, 8}


def test_draws_follow_from_their_names_alone():
    recording = windows(9, 6, 20)
    first = at_random(recording, 5, 0.5, numpy_generator(1, "pretrain", 3))
    again = at_random(recording, 5, 0.5, numpy_generator(1, "pretrain", 3))
    np.testing.assert_array_equal(first.start, again.start)
    others = [
        at_random(recording, 5, 0.5, numpy_generator(*name)).start.tolist()
        for name in ((1, "pretrain", 4), (2, "pretrain", 3), (1, "attack", 3))
    ]
    assert first.start.tolist() not in others
    assert len({seed_of(1, 23), seed_of(12, 3), seed_of(123), seed_of("1", "2", "3")}) == 4
