"""The queue between two stages: no window is lost uncounted, and a receiver learns why a number is missing."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline_helpers import end, link, raw_message, received, stage_counters

from eventveil.errors import LineError
from eventveil.stream.runtime.accounting import AGE, QUEUE
from eventveil.stream.runtime.edge_queue import EdgeSender
from eventveil.stream.runtime.message import unpack

IN_FLIGHT = 2  # messages in ZeroMQ's own two queues, with the smallest high-water marks


def never():
    return False


def arrived(pull):
    """The messages that have arrived."""
    return [unpack(frames) for frames in received(pull)]


def numbers(messages):
    return [message.window.origin.seq for message in messages if message.window is not None]


def put_all(sender, count, stream="0"):
    for seq in range(count):
        sender.put(raw_message(seq, stream))


def test_what_can_be_sent_is_sent_at_once():
    with link(hwm=10) as (push, pull):
        sender = EdgeSender(push, 1, "lossless", counters := stage_counters(), never)
        put_all(sender, 5)
        assert (len(sender), counters.total("sent"), sender.full) == (0, 5, False)
        assert numbers(arrived(pull)) == [0, 1, 2, 3, 4]


def test_lossless_says_when_it_is_full():
    with link() as (push, _):
        sender = EdgeSender(push, 3, "lossless", counters := stage_counters(), never)
        put_all(sender, IN_FLIGHT + 2)
        assert (len(sender), sender.full) == (2, False)
        sender.put(raw_message(9))
        assert (len(sender), sender.full, counters.total("sent")) == (3, True, IN_FLIGHT)


def test_lossless_blocks_until_there_is_room_and_loses_nothing():
    got = []
    with link() as (push, pull):

        def receive_one():  # the sender calls this whenever it has to wait
            got.append(unpack(pull.recv_multipart()))
            return False

        sender = EdgeSender(push, 2, "lossless", counters := stage_counters(), receive_one)
        put_all(sender, 20)
        assert len(got) >= 20 - IN_FLIGHT - 2
        assert len(sender) == 2
        while not sender.drain(1):
            pass
        got += arrived(pull)
    assert numbers(got) == list(range(20))
    assert not any(message.lost for message in got)
    assert not counters.dropped()


def test_an_abort_while_blocked_is_an_error():
    with link() as (push, _):
        sender = EdgeSender(push, 1, "lossless", stage_counters(), lambda: True)
        put_all(sender, IN_FLIGHT + 1)
        with pytest.raises(LineError, match="before all windows were sent"):
            sender.put(raw_message(9))
        with pytest.raises(LineError):
            sender.drain(1)


def test_draining_gives_up_when_its_time_is_over():
    with link() as (push, pull):
        sender = EdgeSender(push, 4, "live", stage_counters(), never)
        put_all(sender, IN_FLIGHT + 2)
        assert sender.drain(0) is False
        pull.recv_multipart()
        assert sender.drain(0.001) is False
        assert len(sender) == 1
        pull.recv_multipart()
        assert sender.drain(1) is True


def test_live_never_blocks_and_gives_up_the_oldest():
    def aborted():
        raise AssertionError("live delivery never waits")

    with link() as (push, pull):
        sender = EdgeSender(push, 3, "live", counters := stage_counters(), aborted)
        put_all(sender, 10)
        assert (len(sender), sender.full) == (3, False)
        first = arrived(pull)
        sender.flush()
        rest = arrived(pull)
        sender.flush()
        messages = first + rest + arrived(pull)
    assert numbers(messages) == [0, 1, 7, 8, 9]
    assert [message.lost for message in messages] == [{}, {}, {QUEUE: 5}, {QUEUE: 5}, {QUEUE: 5}]
    assert counters.dropped() == {QUEUE: 5}


def test_losses_of_earlier_stages_are_passed_on():
    with link() as (push, pull):
        sender = EdgeSender(push, 1, "live", stage_counters(), never)
        put_all(sender, IN_FLIGHT)
        sender.put(raw_message(4, lost={AGE: 2}))
        sender.put(raw_message(6, lost={AGE: 3}))
        arrived(pull)
        sender.flush()
        assert [message.lost for message in arrived(pull)] == [{AGE: 3, QUEUE: 1}]


def test_a_loss_waits_for_the_next_message_of_its_own_stream():
    with link() as (push, pull):
        sender = EdgeSender(push, 1, "live", stage_counters(), never)
        put_all(sender, IN_FLIGHT)
        sender.put(raw_message(0, "a"))
        sender.put(raw_message(0, "b"))  # b's window displaces a's only one
        arrived(pull)
        sender.put(raw_message(1, "a"))
        sender.flush()
        assert [(message.stream, message.lost) for message in arrived(pull)] == [("b", {}), ("a", {QUEUE: 1})]


def test_ends_are_never_given_up_and_carry_the_last_losses():
    with link() as (push, pull):
        sender = EdgeSender(push, 1, "live", counters := stage_counters(), never)
        put_all(sender, IN_FLIGHT)
        sender.put(raw_message(0, "a"))
        for stream in "abc":
            sender.put(end(stream))
        assert len(sender) == 3
        got = arrived(pull)
        while not sender.drain(0):
            sender.flush()
            got += arrived(pull)
        got += arrived(pull)
    assert [(message.stream, message.lost) for message in got if message.window is None] == [
        ("a", {QUEUE: 1}),
        ("b", {}),
        ("c", {}),
    ]
    assert counters.total("sent") == IN_FLIGHT  # ends are not counted: they are not windows


ACTIONS = st.lists(
    st.sampled_from(["put a", "put a", "put b", "put b", "put c", "age a", "age b", "take"]), max_size=60
)


@given(ACTIONS, st.integers(1, 4))
def test_live_every_gap_is_explained_by_the_message_after_it(actions, capacity):
    made, got = Counter(), []
    with link() as (push, pull):
        sender = EdgeSender(push, capacity, "live", counters := stage_counters(), never)
        for action in actions:
            verb, _, stream = action.partition(" ")
            if verb == "take":
                if pull.poll(0):
                    got.append(unpack(pull.recv_multipart()))
                sender.flush()
                continue
            message = raw_message(made[stream], stream)
            made[stream] += 1
            sender.put(message) if verb == "put" else counters[stream].drop(AGE)
            assert len(sender) <= capacity
            assert counters.total("sent") + sum(counters.dropped().values()) + len(sender) == made.total()
        for stream in "abc":
            sender.put(end(stream))
        while len(sender):
            got += arrived(pull)
            sender.flush()
        got += arrived(pull)
    assert_explained(got, made)
    lost = sum((message.lost for message in got if message.window is None), Counter())
    assert lost == counters.dropped()
    assert lost[AGE] == sum(action.startswith("age") for action in actions)


def assert_explained(messages, made):
    """In each stream, as many numbers are missing before a message as it reports lost."""
    came = Counter()
    for message in messages:
        seq = made[message.stream] if message.window is None else message.window.origin.seq
        assert seq - came[message.stream] == message.lost.total()
        came[message.stream] += 1
    assert sum(message.window is None for message in messages) == 3


@given(ACTIONS, st.integers(1, 4))
def test_lossless_nothing_is_missing_and_order_is_kept(actions, capacity):
    made, got = [], []
    with link() as (push, pull):
        sender = EdgeSender(
            push, capacity, "lossless", counters := stage_counters(), lambda: got.append(unpack(pull.recv_multipart()))
        )
        for action in actions:
            if action == "take":
                got += arrived(pull)
                sender.flush()
            else:
                made.append((action, len(made)))
                sender.put(raw_message(len(made) - 1, action[-1]))
                assert len(sender) <= capacity
        while len(sender):
            got += arrived(pull)
            sender.flush()
        got += arrived(pull)
    assert numbers(got) == [seq for _, seq in made]
    assert counters.total("sent") == len(made)


def test_an_end_is_said_again_for_those_who_may_have_died_with_it(monkeypatch):
    monkeypatch.setattr("eventveil.stream.runtime.edge_queue.RESEND_S", 0.0)
    with link(hwm=10) as (push, pull):
        sender = EdgeSender(push, 4, "live", stage_counters(), never)
        sender.resend_end_of_stream()
        sender.put(raw_message(0, "a"))
        sender.put(end("a", {AGE: 1}, made=2))
        sender.put(end("b"))
        sender.resend_end_of_stream()
        got = arrived(pull)
    assert [(message.stream, message.seq, message.lost, message.ends) for message in got] == [
        ("a", 0, {}, False),
        *[("a", 2, {AGE: 1}, True), ("b", 0, {}, True)] * 2,
    ]


def test_an_end_is_not_said_again_before_what_waits():
    with link() as (push, _):
        sender = EdgeSender(push, 9, "live", stage_counters(), never)
        put_all(sender, IN_FLIGHT + 1)
        sender.put(end())
        sender.resend_end_of_stream()
        assert len(sender) == 2
