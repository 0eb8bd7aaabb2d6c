"""The counters of a pipeline: each window is in one place at any moment, whatever dies."""

from __future__ import annotations

import ctypes
import multiprocessing
import pickle
import stat
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline_helpers import end, notice, raw_message, stage_counters

from eventveil.errors import ConfigError
from eventveil.stream.runtime.accounting import (
    AGE,
    CRASH,
    NEVER,
    QUEUE,
    Flag,
    PipelineCounters,
    StageCounters,
    StreamCounters,
)
from eventveil.stream.runtime.balance import balance

STAGES = ("histogram:left", "histogram:right", "anonymize", "publish")


def test_what_was_lost_on_the_way_is_distinguished_from_what_was_dropped():
    counters = stage_counters()["0"]
    lost = []
    for message in (
        raw_message(0),
        raw_message(3, lost={QUEUE: 2}),
        raw_message(9, lost={QUEUE: 3, AGE: 1}),  # 4 to 8 are missing, and two of them were dropped
        raw_message(10, lost={QUEUE: 3, AGE: 1}),
        end(lost={QUEUE: 3, AGE: 1}, made=12),
    ):
        assert counters.arrived(message)
        lost.append(dict(message.lost))
    assert lost == [
        {},
        {QUEUE: 2},
        *[{QUEUE: 3, AGE: 1, CRASH: 3}] * 2,
        {QUEUE: 3, AGE: 1, CRASH: 4},
    ]
    assert (counters.received, counters.missed, counters.ended) == (4, 4, 1)


def test_who_comes_after_it_was_given_up_for_lost_is_passed_over():
    counters = stage_counters()["0"]
    assert counters.arrived(raw_message(5))
    assert not counters.arrived(raw_message(4))
    assert counters.arrived(end(made=6))
    assert not counters.arrived(end(made=6))
    assert not counters.arrived(notice("camera_back"))
    assert (counters.received, counters.missed) == (1, 5)


def test_camera_notices_are_not_windows():
    counters = stage_counters()["0"]
    counters.arrived(raw_message(2))
    assert counters.arrived(camera_lost := notice("camera_lost"))
    assert camera_lost.lost == {CRASH: 2}
    assert (counters.received, counters.missed, counters.ended) == (1, 2, 0)


def test_what_was_in_a_stage_that_died_is_lost_and_ends_are_received_again():
    counters = stage_counters()
    for seq in range(5):
        counters["a"].arrived(raw_message(seq, "a"))
    counters["a"].sent += 2
    counters["a"].drop(AGE)
    counters["b"].arrived(end("b"))
    counters.close_after_crash()
    assert (counters["a"].crash, counters["a"].in_flight) == (2, 0)
    assert counters.dropped() == {AGE: 1, CRASH: 2}
    assert counters.running() == len(list(counters))


def test_a_source_that_died_after_its_end_need_not_read_again():
    source = PipelineCounters(("histogram:0",), ("0",))["histogram:0"]
    source["0"].ended = 1
    source.close_after_crash()
    assert source["0"].ended == 1


def test_each_source_counts_its_own_stream():
    counters = PipelineCounters(STAGES, ("left", "right"))
    assert [[name for name, _ in counters[stage]] for stage in STAGES] == [
        ["left"], ["right"], ["left", "right"], ["left", "right"],
    ]  # fmt: skip


def test_the_balance_names_stages_and_edges():
    counters = PipelineCounters(STAGES, ("left", "right"))
    for stream, made in (("left", 5), ("right", 3)):
        source, anonymizer, publisher = (counters[stage][stream] for stage in (f"histogram:{stream}", *STAGES[2:]))
        source.received, source.sent = made, made
        anonymizer.received, anonymizer.missed, anonymizer.sent = made - 1, 1, made - 2
        anonymizer.drop(AGE)
        publisher.received, publisher.sent = made - 3, made - 3
    figures = balance(counters)
    assert figures["stages"]["anonymize"] == {"received": 6, "sent": 4, "dropped": {AGE: 2}, "in_flight": 0}
    assert figures["edges"] == {
        "histogram:left > anonymize": {"sent": 5, "received": 4, "dropped": {CRASH: 1}, "in_flight": 0},
        "histogram:right > anonymize": {"sent": 3, "received": 2, "dropped": {CRASH: 1}, "in_flight": 0},
        "anonymize > publish": {"sent": 4, "received": 2, "dropped": {}, "in_flight": 2},
    }
    assert (figures["in_flight"], figures["balanced"]) == (2, True)
    counters["publish"]["left"].received += 5
    assert balance(counters)["balanced"] is False


def write_into(counters):
    counters["publish"]["left"].sent += 7
    counters["publish"].life = 3
    counters.flags.stop.set()


def test_another_process_writes_into_the_same_books(tmp_path):
    counters = PipelineCounters(STAGES, ("left",), tmp_path / "counters")
    writer = multiprocessing.get_context("spawn").Process(target=write_into, args=(counters,))
    writer.start()
    writer.join()
    assert (counters["publish"]["left"].sent, counters["publish"].life) == (7, 3)
    flags = counters.flags
    assert [flag.is_set() for flag in (flags.go, flags.stop, flags.abort)] == [False, True, False]


@pytest.mark.parametrize("structure", [Flag, StreamCounters, StageCounters])
def test_every_counter_is_an_aligned_integer_of_eight_bytes(structure):
    fields = [getattr(structure, name) for name, _ in structure._fields_]
    assert [(field.offset, field.size) for field in fields] == [(8 * number, 8) for number in range(len(fields))]
    assert {kind for _, kind in structure._fields_} == {ctypes.c_int64}


def alternate(counters):
    counters.flags.go.set()
    while True:
        counters["publish"]["left"].sent = -1
        counters["publish"]["left"].sent = 0


def test_a_writer_that_is_killed_leaves_no_half_written_count(tmp_path):
    counters = PipelineCounters(STAGES, ("left",), tmp_path / "counters")
    count = counters["publish"]["left"]
    assert ctypes.addressof(count) % 8 == 0
    writer = multiprocessing.get_context("spawn").Process(target=alternate, args=(counters,))
    writer.start()
    try:
        deadline = time.monotonic() + 60
        while not counters.flags.go.wait(0.01):
            assert time.monotonic() < deadline
        assert {count.sent for _ in range(200_000)} <= {0, -1}
    finally:
        writer.kill()
        writer.join()
    assert count.sent in (0, -1)


def test_the_file_is_its_owners_and_new_each_time(tmp_path):
    path = tmp_path / "counters"
    first = PipelineCounters(STAGES, ("left",), path)
    first["publish"]["left"].until_us = 5
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    second = PipelineCounters(STAGES, ("left",), path)
    assert second["publish"]["left"].until_us == NEVER
    assert first["publish"]["left"].until_us == 5
    assert pickle.loads(pickle.dumps(second))["publish"]["left"].until_us == NEVER


def test_counters_that_find_no_room_say_so(tmp_path):
    with pytest.raises(
        ConfigError, match=r"line\.runtime_dir: cannot create .*/counters: .*; choose a folder with room"
    ):
        PipelineCounters(STAGES, ("left",), tmp_path / "nowhere" / "counters")


@given(
    st.lists(
        st.tuples(st.sampled_from(["take", "send", "age", "lost", "dropped", "die"]), st.sampled_from("ab")),
        max_size=60,
    )
)
def test_every_number_is_received_given_up_or_missed_through_any_deaths(steps):
    """What a stage counts and reports to the next one, against a plain count of every window's fate."""
    counters = stage_counters()
    made, dropped, fates = Counter(), {"a": Counter(), "b": Counter()}, {"a": Counter(), "b": Counter()}
    in_hand = Counter()
    for step, stream in steps:
        stream_counters = counters[stream]
        if step == "take":
            message = raw_message(made[stream], stream, dict(dropped[stream]))
            made[stream] += 1
            assert stream_counters.arrived(message)
            in_hand[stream] += 1
            before = dropped[stream].total() + fates[stream]["on the way"] + stream_counters.received - 1
            assert made[stream] - 1 == before
            assert message.lost.total() == dropped[stream].total() + fates[stream]["on the way"]
        elif step == "lost":
            made[stream] += 1
            fates[stream]["on the way"] += 1
        elif step == "dropped":
            made[stream] += 1
            dropped[stream][QUEUE] += 1
        elif step == "die":
            counters.close_after_crash()
            for name in "ab":
                fates[name]["in the stage"] += in_hand[name]
            in_hand.clear()
        elif in_hand[stream]:
            in_hand[stream] -= 1
            if step == "send":
                stream_counters.sent += 1
            else:
                stream_counters.drop(AGE)
        assert counters[stream].in_flight == in_hand[stream]
    for stream in "ab":
        counters[stream].arrived(end(stream, dropped[stream], made[stream]))
        assert counters[stream].missed == fates[stream]["on the way"]
        assert counters[stream].crash == fates[stream]["in the stage"]
