"""The subscriber: messages over real TCP, with the windows missing between them, until the pipeline ends."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from pipeline_helpers import (
    gesture,
    gesture_header,
    pipeline_ended,
    publisher,
    state,
    values,
    window,
    window_header,
)

import eventveil.stream
from eventveil.errors import ConfigError, WireError
from eventveil.stream.protocol.wire import GESTURE, STATE, WINDOW, Message
from eventveil.stream.subscriber import recent
from eventveil.stream.subscriber.client import Gaps, subscribe

PATIENCE_S = 60  # far more than needed; it only keeps a broken test from hanging


def all_from(*messages, topics=(WINDOW, GESTURE)):
    with publisher(*messages, topics=len({*topics, STATE})) as endpoint:
        return list(subscribe(endpoint, topics, timeout_s=PATIENCE_S))


def test_messages_arrive_in_order_until_the_pipeline_has_ended():
    got = all_from(window(), gesture(), window(1), state(stream="0"), gesture(1, stream="1"), state(), window(2))
    assert [(message.topic, getattr(message.header, "seq", None)) for message in got] == [
        (WINDOW, 0),
        (GESTURE, 0),
        (WINDOW, 1),
        (STATE, None),
        (GESTURE, 1),
        (STATE, None),
    ]
    np.testing.assert_array_equal(got[2].array, values(1))
    assert got[1].array.shape == (0,)
    assert got[0].header == window_header()


def test_it_is_the_public_name():
    assert eventveil.stream.subscribe is subscribe
    with pytest.raises(AttributeError, match="no attribute 'publish_raw'"):
        _ = eventveil.stream.publish_raw


def test_a_failed_pipeline_ends_it_too():
    got = all_from(state(state="failed", reason="why"), window())
    assert [(message.header.state, message.header.reason) for message in got] == [("failed", "why")]


@pytest.mark.parametrize(("topics", "expected"), [((WINDOW,), [WINDOW, STATE]), ((GESTURE, GESTURE), [GESTURE, STATE])])
def test_only_requested_topics_and_states_of_the_pipeline_arrive(topics, expected):
    assert [message.topic for message in all_from(window(), gesture(), state(), topics=topics)] == expected


def test_a_list_of_topics_will_do():
    assert [message.topic for message in all_from(window(), gesture(), state(), topics=["gesture"])] == [GESTURE, STATE]


@pytest.mark.parametrize("topics", [("raw",), ("window", "event"), "window", ("",)])
def test_unknown_topics_are_refused(topics):
    with pytest.raises(ConfigError, match=r"unknown topic .*expected window, gesture or events"):
        next(subscribe("tcp://127.0.0.1:5999", topics))


@pytest.mark.parametrize(
    "endpoint",
    [
        "", "localhost:5556", "tcp://", "tcp://127.0.0.1", "http://a:1", "inproc://line",
        "tcp://127.0.0.1:0", "tcp://127.0.0.1:99999", "tcp://127.0.0.1:port",
    ],
)  # fmt: skip
def test_an_invalid_endpoint_is_refused(endpoint):
    with pytest.raises(ConfigError, match=r"expected tcp://HOST:PORT or ipc://PATH"):
        next(subscribe(endpoint, timeout_s=0.1))


def test_it_gives_up_after_so_long_without_a_message():
    with publisher(window()) as endpoint:
        assert [message.topic for message in subscribe(endpoint, timeout_s=4)] == [WINDOW]


def test_a_publisher_that_never_comes_is_given_up():
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
    assert list(subscribe(f"tcp://127.0.0.1:{port}", timeout_s=0.05)) == []


def test_it_waits_for_a_publisher_that_is_not_there_yet(tmp_path):
    endpoint = f"ipc://{tmp_path}/late.sock"
    with zmq.Context() as context, context.socket(zmq.XPUB) as socket:
        socket.linger = 1000
        calls = itertools.count()

        def stop():  # called before each wait: the publisher appears after the first one
            if next(calls) == 1:
                socket.bind(endpoint)
            while socket.poll(0):
                if socket.recv() == b"\x01window":
                    socket.send_multipart(window())
                    socket.send_multipart(state())
            return False

        assert [message.topic for message in subscribe(endpoint, timeout_s=PATIENCE_S, stop=stop)][:1] == [WINDOW]


def test_asked_to_stop_it_ends():
    got = []
    with publisher(window(), window(1)) as endpoint:
        messages = subscribe(endpoint, timeout_s=PATIENCE_S, stop=lambda: bool(got))
        got.append(next(messages))
        assert list(messages) == []
    assert list(subscribe("tcp://127.0.0.1:5999", stop=lambda: True)) == []


def test_left_early_it_closes_its_socket():
    with publisher(window(), window(1), state()) as endpoint:
        for message in subscribe(endpoint, timeout_s=PATIENCE_S):
            assert message.header.seq == 0
            break


@pytest.mark.parametrize(
    "frames",
    [
        [b"window"],
        [b"window", b"", b""],
        [b"windows are open", b"{}", b""],
        [*window()[:2], b"\0"],
        [b"gesture", b"\xff" * 100, b"\0" * 12],
        [b"state", b"{}", b"", b""],
    ],
)
def test_a_strangers_bytes_give_a_wire_error(frames):
    with publisher(window(), frames) as endpoint:
        messages = subscribe(endpoint, timeout_s=PATIENCE_S)
        assert next(messages).topic == WINDOW
        with pytest.raises(WireError):
            next(messages)


def message(seq, lost=None, *, topic=WINDOW, **more):
    header = window_header if topic == WINDOW else gesture_header
    return Message(topic, header(seq=seq, lost=lost or {}, **more), values())


def missing(*messages):
    gaps = Gaps()
    return [gaps.fill_in(each).missing for each in messages]


def test_numbers_without_gaps_miss_nothing():
    assert missing(message(0), message(1), message(2)) == [{}, {}, {}]


def test_what_the_publisher_lost_is_reported_once_with_its_reason():
    assert missing(
        message(0), message(3, {"queue": 2}), message(4, {"queue": 2}), message(7, {"queue": 3, "age": 1})
    ) == [{}, {"queue": 2}, {}, {"queue": 1, "age": 1}]


def test_what_no_reason_explains_was_lost_by_the_network():
    assert missing(message(0), message(2), message(5, {"queue": 1})) == [{}, {"network": 1}, {"queue": 1, "network": 1}]


def test_before_the_first_message_nothing_is_missing():
    assert missing(message(17, {"queue": 4}), message(19, {"queue": 5})) == [{}, {"queue": 1}]


def test_streams_and_topics_are_counted_apart():
    assert missing(
        message(0, stream="a"),
        message(5, stream="b"),
        message(0, topic=GESTURE, stream="a"),
        message(1, stream="a"),
        message(7, stream="b"),
        message(1, topic=GESTURE, stream="a"),
    ) == [{}, {}, {}, {}, {"network": 1}, {}]


def test_a_publisher_that_makes_up_streams_does_not_fill_the_memory_of_a_subscriber(monkeypatch):
    monkeypatch.setattr(recent, "MOST", 50)
    gaps = Gaps()
    for number in range(200):
        gaps.fill_in(message(0, stream=f"made-up-{number}"))
        gaps.withhold(message(0, stream=f"made-up-{number}"))
        gaps.fill_in(message(number, stream="real"))
    assert len(gaps._last) == len(gaps._withheld) == 50
    assert gaps.fill_in(message(205, stream="real")).missing == {"network": 5}  # a stream that goes on is not forgotten


def test_a_pipeline_that_restarts_misses_nothing():
    """Whether its first number is lower or higher than the last one before."""
    for first in (0, 30):
        assert missing(
            message(8, {"queue": 3}),
            message(first, {"queue": 9}, run="ef" * 8),
            message(first + 2, {"queue": 10}, run="ef" * 8),
        ) == [{}, {}, {"queue": 1}]


def test_what_was_in_flight_when_the_publisher_died_is_reported_as_that():
    assert missing(
        message(8, {"queue": 3}), message(12, {"queue": 4, "crash": 1}, life=2), message(14, {"queue": 5}, life=2)
    ) == [{}, {"queue": 1, "crash": 2}, {"queue": 1}]


def test_states_pass_as_they_are():
    ended = Message(STATE, pipeline_ended(stream="0", lost={"queue": 3}), values())
    assert Gaps().fill_in(ended) is ended


def test_what_is_missing_arrives_with_the_message():
    got = all_from(window(), window(4, lost={"queue": 2}), state())
    assert [m.missing for m in got] == [{}, {"queue": 2, "network": 1}, {}]


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["sent", "sent", "queue", "age", "network"])), max_size=40
    )
)
def test_whatever_happens_to_a_window_is_reported_exactly(fates):
    seqs, lost = dict.fromkeys("ab", 0), {"a": {}, "b": {}}
    gaps = Gaps()
    for stream in "ab":
        gaps.fill_in(message(0, stream=stream))
    expected = {"a": {}, "b": {}}  # missing since the last message that arrived
    for stream, fate in fates:
        seqs[stream] += 1
        if fate in ("queue", "age"):
            lost[stream][fate] = lost[stream].get(fate, 0) + 1
        if fate != "sent":
            expected[stream][fate] = expected[stream].get(fate, 0) + 1
            continue
        assert gaps.fill_in(message(seqs[stream], dict(lost[stream]), stream=stream)).missing == expected[stream]
        expected[stream] = {}
