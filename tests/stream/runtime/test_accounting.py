"""The books of a line: each window in one place, whatever dies, and whenever one looks."""

from __future__ import annotations

import multiprocessing
import pickle
import stat
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline_helpers import end, notice, page, raw_parcel

from eventveil.errors import ConfigError
from eventveil.stream.runtime.accounting import AGE, CRASH, NEVER, QUEUE, PipelineCounters
from eventveil.stream.runtime.balance import balance

STAGES = ("histogram:left", "histogram:right", "anonymize", "publish")


def test_what_was_lost_on_the_way_is_told_from_what_was_given_up():
    entry = page()["0"]
    told = []
    for parcel in (
        raw_parcel(0),
        raw_parcel(3, lost={QUEUE: 2}),
        raw_parcel(9, lost={QUEUE: 3, AGE: 1}),  # 4 to 8 are missing, and two of them were given up
        raw_parcel(10, lost={QUEUE: 3, AGE: 1}),
        end(lost={QUEUE: 3, AGE: 1}, made=12),
    ):
        assert entry.arrived(parcel)
        told.append(dict(parcel.lost))
    assert told == [
        {},
        {QUEUE: 2},
        *[{QUEUE: 3, AGE: 1, CRASH: 3}] * 2,
        {QUEUE: 3, AGE: 1, CRASH: 4},
    ]
    assert (entry.received, entry.missed, entry.ended) == (4, 4, 1)


def test_who_comes_after_it_was_given_up_for_lost_is_passed_over():
    entry = page()["0"]
    assert entry.arrived(raw_parcel(5))
    assert not entry.arrived(raw_parcel(4))
    assert entry.arrived(end(made=6))
    assert not entry.arrived(end(made=6))
    assert not entry.arrived(notice("camera_back"))
    assert (entry.received, entry.missed) == (1, 5)


def test_words_about_a_camera_are_no_windows():
    entry = page()["0"]
    entry.arrived(raw_parcel(2))
    assert entry.arrived(word := notice("camera_lost"))
    assert word.lost == {CRASH: 2}
    assert (entry.received, entry.missed, entry.ended) == (1, 2, 0)


def test_what_was_in_a_stage_that_died_is_lost_and_ends_are_asked_for_anew():
    books = page()
    for seq in range(5):
        books["a"].arrived(raw_parcel(seq, "a"))
    books["a"].sent += 2
    books["a"].drop(AGE)
    books["b"].arrived(end("b"))
    books.close_after_crash()
    assert (books["a"].crash, books["a"].in_flight) == (2, 0)
    assert books.dropped() == {AGE: 1, CRASH: 2}
    assert books.running() == len(list(books))


def test_a_source_that_died_behind_its_end_need_not_read_again():
    source = PipelineCounters(("histogram:0",), ("0",))["histogram:0"]
    source["0"].ended = 1
    source.close_after_crash()
    assert source["0"].ended == 1


def test_each_source_keeps_the_books_of_its_own_stream():
    books = PipelineCounters(STAGES, ("left", "right"))
    assert [[name for name, _ in books[stage]] for stage in STAGES] == [
        ["left"], ["right"], ["left", "right"], ["left", "right"],
    ]  # fmt: skip


def test_the_balance_names_stages_and_edges():
    books = PipelineCounters(STAGES, ("left", "right"))
    for stream, made in (("left", 5), ("right", 3)):
        source, anonymizer, publisher = (books[stage][stream] for stage in (f"histogram:{stream}", *STAGES[2:]))
        source.received, source.sent = made, made
        anonymizer.received, anonymizer.missed, anonymizer.sent = made - 1, 1, made - 2
        anonymizer.drop(AGE)
        publisher.received, publisher.sent = made - 3, made - 3
    figures = balance(books)
    assert figures["stages"]["anonymize"] == {"received": 6, "sent": 4, "dropped": {AGE: 2}, "in_flight": 0}
    assert figures["edges"] == {
        "histogram:left > anonymize": {"sent": 5, "received": 4, "dropped": {CRASH: 1}, "in_flight": 0},
        "histogram:right > anonymize": {"sent": 3, "received": 2, "dropped": {CRASH: 1}, "in_flight": 0},
        "anonymize > publish": {"sent": 4, "received": 2, "dropped": {}, "in_flight": 2},
    }
    assert (figures["in_flight"], figures["balanced"]) == (2, True)
    books["publish"]["left"].received += 5
    assert balance(books)["balanced"] is False


def write_into(books):
    books["publish"]["left"].sent += 7
    books["publish"].life = 3
    books.flag(1).set()


def test_another_process_writes_into_the_same_books(tmp_path):
    books = PipelineCounters(STAGES, ("left",), tmp_path / "books")
    writer = multiprocessing.get_context("spawn").Process(target=write_into, args=(books,))
    writer.start()
    writer.join()
    assert (books["publish"]["left"].sent, books["publish"].life) == (7, 3)
    assert [books.flag(number).is_set() for number in range(3)] == [False, True, False]


def test_the_file_is_its_owners_and_new_each_time(tmp_path):
    path = tmp_path / "books"
    first = PipelineCounters(STAGES, ("left",), path)
    first["publish"]["left"].until_us = 5
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    second = PipelineCounters(STAGES, ("left",), path)
    assert second["publish"]["left"].until_us == NEVER
    assert first["publish"]["left"].until_us == 5
    assert pickle.loads(pickle.dumps(second))["publish"]["left"].until_us == NEVER


def test_books_that_find_no_room_say_so(tmp_path):
    with pytest.raises(ConfigError, match=r"line\.runtime_dir: .*books cannot be made: .*; choose a folder with room"):
        PipelineCounters(STAGES, ("left",), tmp_path / "nowhere" / "books")


@given(
    st.lists(
        st.tuples(st.sampled_from(["take", "send", "age", "lost", "given up", "die"]), st.sampled_from("ab")),
        max_size=60,
    )
)
def test_every_number_is_received_given_up_or_missed_through_any_deaths(steps):
    """What a stage books, and what it tells the next, against a plain count of every window's fate."""
    books = page()
    made, given_up, fates = Counter(), {"a": Counter(), "b": Counter()}, {"a": Counter(), "b": Counter()}
    in_hand = Counter()
    for step, stream in steps:
        entry = books[stream]
        if step == "take":
            parcel = raw_parcel(made[stream], stream, dict(given_up[stream]))
            made[stream] += 1
            assert entry.arrived(parcel)
            in_hand[stream] += 1
            before = given_up[stream].total() + fates[stream]["on the way"] + entry.received - 1
            assert made[stream] - 1 == before
            assert parcel.lost.total() == given_up[stream].total() + fates[stream]["on the way"]
        elif step == "lost":
            made[stream] += 1
            fates[stream]["on the way"] += 1
        elif step == "given up":
            made[stream] += 1
            given_up[stream][QUEUE] += 1
        elif step == "die":
            books.close_after_crash()
            for name in "ab":
                fates[name]["in the stage"] += in_hand[name]
            in_hand.clear()
        elif in_hand[stream]:
            in_hand[stream] -= 1
            if step == "send":
                entry.sent += 1
            else:
                entry.drop(AGE)
        assert books[stream].in_flight == in_hand[stream]
    for stream in "ab":
        books[stream].arrived(end(stream, given_up[stream], made[stream]))
        assert books[stream].missed == fates[stream]["on the way"]
        assert books[stream].crash == fates[stream]["in the stage"]
