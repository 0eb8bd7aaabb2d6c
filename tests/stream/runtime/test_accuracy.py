"""Live accuracy: which windows are judged, and the figures that result."""

from __future__ import annotations

import pickle
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventveil.stream.runtime.accuracy import NOTES, GroundTruth, JudgedWindow, LiveAccuracy, Prediction

LABELS = ("clap", "wave", "roll", "rest")


def shown(seq, label="wave", trial=0, subject="ann", since_us=100, stream="0"):
    return GroundTruth(stream=stream, seq=seq, trial=trial, label=label, subject=subject, since_us=since_us)


def recognised(seq, label="wave", stream="0"):
    return Prediction(stream=stream, seq=seq, label=label)


def accuracy_of(*notes, streams=("0",)):
    accuracy = LiveAccuracy(LABELS, streams)
    accuracy.take(notes)
    return accuracy


def test_nothing_is_said_before_anything_is_judged():
    assert accuracy_of(shown(0), recognised(1)).figures() == {
        "judged": 0,
        "right": 0,
        "accuracy": None,
        "chance": 0.25,
        "people": 0,
        "trials": 0,
        "trials_right": 0,
        "first_right_s": None,
    }


def test_a_window_without_a_recognised_gesture_is_judged_and_wrong():
    accuracy = accuracy_of(shown(0), recognised(0, None))
    assert (accuracy.figures()["judged"], accuracy.figures()["right"]) == (1, 0)
    assert accuracy.last == {"0": JudgedWindow("wave", None)}


def test_windows_are_judged_by_their_numbers_and_trials_by_their_first_right_window():
    accuracy = accuracy_of(
        *(shown(seq, since_us=100_000 * (seq + 1)) for seq in range(4)),
        *(shown(seq, "clap", 1, "bob", 100_000 * (seq - 3)) for seq in range(4, 6)),
        *(shown(seq, "roll", 2, "ann", 100_000 * (seq - 5)) for seq in range(6, 8)),
        *map(recognised, range(8), ["clap", "rest", "wave", "wave", "clap", "clap", "rest", "rest"]),
    )
    assert accuracy.figures() == {
        "judged": 8,
        "right": 4,
        "accuracy": 0.5,
        "chance": 0.25,
        "people": 2,
        "trials": 3,
        "trials_right": 2,
        "first_right_s": pytest.approx(0.1, rel=0.02),  # the median: half of 0.3 and 0.1 stay below
    }
    assert accuracy.last == {"0": JudgedWindow("roll", "rest")}


def test_what_the_classifier_cannot_say_is_not_judged():
    assert accuracy_of(shown(0, "juggling"), recognised(0), shown(1), recognised(1)).figures()["judged"] == 1


def test_streams_are_judged_apart_and_others_not_at_all():
    accuracy = accuracy_of(
        shown(0, "clap", stream="a"), recognised(0, "wave", stream="b"), recognised(0, "clap", stream="a"),
        shown(0, "clap", stream="c"), recognised(0, "clap", stream="c"), shown(0, "wave", stream="b"),
        streams=("a", "b"),
    )  # fmt: skip
    assert (accuracy.figures()["judged"], accuracy.figures()["right"], accuracy.figures()["trials"]) == (2, 2, 2)
    assert set(accuracy.last) == {"a", "b"}


@given(st.lists(st.sampled_from(["both", "shown", "seen"]), max_size=40), st.integers(0, 10**6))
def test_whatever_was_given_up_and_in_whatever_batches_both_sides_come_each_is_judged_once(windows, seed):
    left = [shown(seq) for seq, what in enumerate(windows) if what != "seen"]
    right = [recognised(seq) for seq, what in enumerate(windows) if what != "shown"]
    pick = random.Random(seed)
    accuracy = LiveAccuracy(LABELS, ("0",))
    while left or right:
        side = left if left and (not right or pick.random() < 0.5) else right
        batch = pick.randint(1, 5)
        accuracy.take(side[:batch])
        del side[:batch]
    assert accuracy.figures()["judged"] == accuracy.figures()["right"] == windows.count("both")


@pytest.mark.parametrize("sides", [("shown", "seen"), ("shown",), ("seen",)])
def test_what_is_kept_does_not_grow_with_the_time(monkeypatch, sides):
    monkeypatch.setattr("eventveil.stream.runtime.accuracy.MAX_WAITING", 5_000)
    accuracy, sizes = LiveAccuracy(LABELS, ("0",)), []
    begin = 1_000_000  # takes as many bytes as all later numbers
    for seq in range(begin, begin + 20_000):
        trial = seq // 7
        note = {
            "shown": shown(seq, LABELS[seq % 3], trial, f"user{trial % 50:02d}", since_us=150_000 * (seq % 7 + 1)),
            "seen": recognised(seq),
        }
        accuracy.take(note[side] for side in sides)
        if seq - begin in (5_000, 19_999):
            sizes.append(len(pickle.dumps(accuracy)))
    assert sizes[1] <= sizes[0] + 20  # the counts themselves may take a few more bytes


def test_notes_survive_the_wire_and_hide_who_it_is():
    notes = [shown(3, subject="user8675309"), recognised(3)]
    assert NOTES.validate_json(NOTES.dump_json(notes)) == notes
    assert "user8675309" not in repr(notes)


@pytest.mark.parametrize("key", ["label", "subject"])
def test_figures_are_numbers_alone(key):
    figures = accuracy_of(shown(0), recognised(0)).figures()
    assert getattr(shown(0), key) not in str(figures)
