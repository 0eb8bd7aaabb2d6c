"""What waits between two stages: nothing is lost unseen, and whoever sees a number missing is told why."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline_helpers import end, link, page, raw_parcel, received

from eventveil.errors import LineError
from eventveil.stream.runtime.accounting import AGE, QUEUE
from eventveil.stream.runtime.edge_queue import EdgeSender
from eventveil.stream.runtime.message import unpack

IN_FLIGHT = 2  # what ZeroMQ's own two queues hold of a link with the smallest high-water marks


def never():
    return False


def taken(pull):
    """The parcels that have arrived."""
    return [unpack(frames) for frames in received(pull)]


def numbers(parcels):
    return [parcel.window.origin.seq for parcel in parcels if parcel.window is not None]


def put_all(outbox, count, stream="0"):
    for seq in range(count):
        outbox.put(raw_parcel(seq, stream))


def test_what_can_be_sent_is_sent_at_once():
    with link(hwm=10) as (push, pull):
        outbox = EdgeSender(push, 1, "lossless", books := page(), never)
        put_all(outbox, 5)
        assert (len(outbox), books.total("sent"), outbox.full) == (0, 5, False)
        assert numbers(taken(pull)) == [0, 1, 2, 3, 4]


def test_lossless_says_when_it_is_full():
    with link() as (push, _):
        outbox = EdgeSender(push, 3, "lossless", books := page(), never)
        put_all(outbox, IN_FLIGHT + 2)
        assert (len(outbox), outbox.full) == (2, False)
        outbox.put(raw_parcel(9))
        assert (len(outbox), outbox.full, books.total("sent")) == (3, True, IN_FLIGHT)


def test_lossless_blocks_until_there_is_room_and_loses_nothing():
    got = []
    with link() as (push, pull):

        def receive_one():  # the outbox asks this whenever it has to wait
            got.append(unpack(pull.recv_multipart()))
            return False

        outbox = EdgeSender(push, 2, "lossless", books := page(), receive_one)
        put_all(outbox, 20)
        assert len(got) >= 20 - IN_FLIGHT - 2
        assert len(outbox) == 2
        while not outbox.drain(1):
            pass
        got += taken(pull)
    assert numbers(got) == list(range(20))
    assert not any(parcel.lost for parcel in got)
    assert not books.dropped()


def test_an_abort_while_blocked_is_an_error():
    with link() as (push, _):
        outbox = EdgeSender(push, 1, "lossless", page(), lambda: True)
        put_all(outbox, IN_FLIGHT + 1)
        with pytest.raises(LineError, match="before everything had been handed on"):
            outbox.put(raw_parcel(9))
        with pytest.raises(LineError):
            outbox.drain(1)


def test_draining_gives_up_when_its_time_is_over():
    with link() as (push, pull):
        outbox = EdgeSender(push, 4, "live", page(), never)
        put_all(outbox, IN_FLIGHT + 2)
        assert outbox.drain(0) is False
        pull.recv_multipart()
        assert outbox.drain(0.001) is False
        assert len(outbox) == 1
        pull.recv_multipart()
        assert outbox.drain(1) is True


def test_live_never_blocks_and_gives_up_the_oldest():
    def aborted():
        raise AssertionError("live delivery has no reason to wait")

    with link() as (push, pull):
        outbox = EdgeSender(push, 3, "live", books := page(), aborted)
        put_all(outbox, 10)
        assert (len(outbox), outbox.full) == (3, False)
        first = taken(pull)
        outbox.flush()
        rest = taken(pull)
        outbox.flush()
        parcels = first + rest + taken(pull)
    assert numbers(parcels) == [0, 1, 7, 8, 9]
    assert [parcel.lost for parcel in parcels] == [{}, {}, {QUEUE: 5}, {QUEUE: 5}, {QUEUE: 5}]
    assert books.dropped() == {QUEUE: 5}


def test_what_is_told_of_earlier_stages_is_told_on():
    with link() as (push, pull):
        outbox = EdgeSender(push, 1, "live", page(), never)
        put_all(outbox, IN_FLIGHT)
        outbox.put(raw_parcel(4, lost={AGE: 2}))
        outbox.put(raw_parcel(6, lost={AGE: 3}))
        taken(pull)
        outbox.flush()
        assert [parcel.lost for parcel in taken(pull)] == [{AGE: 3, QUEUE: 1}]


def test_a_loss_waits_for_the_next_parcel_of_its_own_stream():
    with link() as (push, pull):
        outbox = EdgeSender(push, 1, "live", page(), never)
        put_all(outbox, IN_FLIGHT)
        outbox.put(raw_parcel(0, "a"))
        outbox.put(raw_parcel(0, "b"))  # a's only window gives way to b's
        taken(pull)
        outbox.put(raw_parcel(1, "a"))
        outbox.flush()
        assert [(parcel.stream, parcel.lost) for parcel in taken(pull)] == [("b", {}), ("a", {QUEUE: 1})]


def test_ends_are_never_given_up_and_carry_the_last_losses():
    with link() as (push, pull):
        outbox = EdgeSender(push, 1, "live", books := page(), never)
        put_all(outbox, IN_FLIGHT)
        outbox.put(raw_parcel(0, "a"))
        for stream in "abc":
            outbox.put(end(stream))
        assert len(outbox) == 3
        got = taken(pull)
        while not outbox.drain(0):
            outbox.flush()
            got += taken(pull)
        got += taken(pull)
    assert [(parcel.stream, parcel.lost) for parcel in got if parcel.window is None] == [
        ("a", {QUEUE: 1}),
        ("b", {}),
        ("c", {}),
    ]
    assert books.total("sent") == IN_FLIGHT  # ends are not counted: they are no windows


ACTIONS = st.lists(
    st.sampled_from(["put a", "put a", "put b", "put b", "put c", "age a", "age b", "take"]), max_size=60
)


@given(ACTIONS, st.integers(1, 4))
def test_live_every_gap_is_explained_by_the_parcel_behind_it(actions, capacity):
    made, got = Counter(), []
    with link() as (push, pull):
        outbox = EdgeSender(push, capacity, "live", books := page(), never)
        for action in actions:
            verb, _, stream = action.partition(" ")
            if verb == "take":
                if pull.poll(0):
                    got.append(unpack(pull.recv_multipart()))
                outbox.flush()
                continue
            parcel = raw_parcel(made[stream], stream)
            made[stream] += 1
            outbox.put(parcel) if verb == "put" else books[stream].drop(AGE)
            assert len(outbox) <= capacity
            assert books.total("sent") + sum(books.dropped().values()) + len(outbox) == made.total()
        for stream in "abc":
            outbox.put(end(stream))
        while len(outbox):
            got += taken(pull)
            outbox.flush()
        got += taken(pull)
    assert_explained(got, made)
    told = sum((parcel.lost for parcel in got if parcel.window is None), Counter())
    assert told == books.dropped()
    assert told[AGE] == sum(action.startswith("age") for action in actions)


def assert_explained(parcels, made):
    """For each stream: the numbers missing before a parcel are as many as it says are lost."""
    came = Counter()
    for parcel in parcels:
        seq = made[parcel.stream] if parcel.window is None else parcel.window.origin.seq
        assert seq - came[parcel.stream] == parcel.lost.total()
        came[parcel.stream] += 1
    assert sum(parcel.window is None for parcel in parcels) == 3


@given(ACTIONS, st.integers(1, 4))
def test_lossless_nothing_is_missing_and_order_is_kept(actions, capacity):
    made, got = [], []
    with link() as (push, pull):
        outbox = EdgeSender(
            push, capacity, "lossless", books := page(), lambda: got.append(unpack(pull.recv_multipart()))
        )
        for action in actions:
            if action == "take":
                got += taken(pull)
                outbox.flush()
            else:
                made.append((action, len(made)))
                outbox.put(raw_parcel(len(made) - 1, action[-1]))
                assert len(outbox) <= capacity
        while len(outbox):
            got += taken(pull)
            outbox.flush()
        got += taken(pull)
    assert numbers(got) == [seq for _, seq in made]
    assert books.total("sent") == len(made)


def test_an_end_is_said_again_for_those_who_may_have_died_with_it(monkeypatch):
    monkeypatch.setattr("eventveil.stream.runtime.edge_queue.RESEND_S", 0.0)
    with link(hwm=10) as (push, pull):
        outbox = EdgeSender(push, 4, "live", page(), never)
        outbox.resend_end_of_stream()
        outbox.put(raw_parcel(0, "a"))
        outbox.put(end("a", {AGE: 1}, made=2))
        outbox.put(end("b"))
        outbox.resend_end_of_stream()
        got = taken(pull)
    assert [(parcel.stream, parcel.seq, parcel.lost, parcel.ends) for parcel in got] == [
        ("a", 0, {}, False),
        *[("a", 2, {AGE: 1}, True), ("b", 0, {}, True)] * 2,
    ]


def test_an_end_is_not_said_again_before_what_waits():
    with link() as (push, _):
        outbox = EdgeSender(push, 9, "live", page(), never)
        put_all(outbox, IN_FLIGHT + 1)
        outbox.put(end())
        outbox.resend_end_of_stream()
        assert len(outbox) == 2
