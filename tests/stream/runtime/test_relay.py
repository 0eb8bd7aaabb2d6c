"""A stage between two sockets: order, age, batches, ends and faults."""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from pipeline_helpers import SCORES, SEAL, end, link, notice, raw, raw_message, received, signals, stage_counters

from eventveil.errors import AnonymizerError, WireError
from eventveil.stream.runtime.accounting import AGE, QUEUE, PipelineCounters
from eventveil.stream.runtime.edge_queue import EdgeSender
from eventveil.stream.runtime.message import pack, unpack
from eventveil.stream.runtime.relay import Relay, receive
from eventveil.stream.runtime.signals import ParentProcess
from eventveil.stream.stages.transform import AnonymizeTransform, ClassifyTransform

MAX_AGE_MS = 60_000
FRESH_NS = time.monotonic_ns() + 3600 * 10**9  # young for as long as the tests run
STALE_NS = time.monotonic_ns() - 2 * MAX_AGE_MS * 1_000_000


class Doubling:
    """A transform that doubles counts, and records the size of each batch."""

    def __init__(self):
        self.batches = []

    def process(self, windows):
        self.batches.append(len(windows))
        return [replace(window, counts=window.counts * np.uint16(2)) for window in windows]


class Beats:
    """A reporter that calls something at each beat."""

    def __init__(self, on_beat=lambda: None):
        self.beat = on_beat


class Reader:
    """The receiver after a relay: reads one message whenever it is called, and keeps them all."""

    def __init__(self, pull):
        self._pull = pull
        self.messages = []

    def __call__(self):
        if self._pull.poll(0):
            self.messages.append(unpack(self._pull.recv_multipart()))
        return False  # it is called as `aborted`

    def all(self):
        self.messages += [unpack(frames) for frames in received(self._pull)]
        return self.messages


@contextmanager
def relay(messages, stage=None, *, streams="0", batch=4, max_age_ms=None, hwm=1000, queue=100, delivery="lossless"):
    """A relay with these messages waiting, and the reader after its sender, which is called while that waits."""
    with link(hwm=1000) as (feed, receiver), link(hwm=hwm) as (push, pull):
        for message in messages:
            feed.send_multipart(pack(message))
        reader = Reader(pull)
        counters = PipelineCounters(["anonymize"], streams)["anonymize"]
        sender = EdgeSender(push, queue, delivery, counters, aborted=reader)
        stage = stage or Doubling()
        yield Relay(stage, receiver, sender, counters, batch=batch, max_age_ms=max_age_ms), reader


def run(messages, stage=None, **settings):
    """The messages that a relay sends until its end, and its figures then."""
    with relay(messages, stage, **settings) as (stage_relay, reader):
        stage_relay.run(signals(), Beats())
        return reader.all(), stage_relay.figures()


def names(messages):
    return [(p.stream, None if p.window is None else p.window.origin.seq) for p in messages]


def test_windows_go_through_the_stage_in_order_and_the_end_comes_last():
    got, figures = run([*(raw_message(seq) for seq in range(10)), end()])
    assert names(got) == [("0", seq) for seq in [*range(10), None]]
    for seq, message in enumerate(got[:-1]):
        np.testing.assert_array_equal(message.window.counts, raw(seq).counts * 2)
    assert figures["counts"] == {"received": 10, "sent": 10, "waiting": 0}
    assert figures["dropped"] == {}
    assert sum(figures["age"].counts) == 10


def test_what_has_arrived_runs_as_one_batch_up_to_a_limit():
    stage = Doubling()
    run([*(raw_message(seq) for seq in range(10)), end()], stage, batch=4)
    assert stage.batches == [4, 4, 2]


def test_a_stage_is_not_called_for_ends_alone():
    stage = Doubling()
    got, _ = run([end("a"), end("b")], stage, streams="ab")
    assert names(got) == [("a", None), ("b", None)]
    assert stage.batches == []


def test_a_camera_notice_keeps_its_place_and_is_not_an_end():
    got, figures = run([raw_message(0), notice("camera_lost"), notice("camera_back"), raw_message(1), end()])
    assert [(p.window and p.window.origin.seq, p.notice) for p in got] == [
        (0, None), (None, "camera_lost"), (None, "camera_back"), (1, None), (None, None),
    ]  # fmt: skip
    assert figures["counts"]["received"] == 2


def test_it_works_until_every_stream_has_ended():
    messages = [raw_message(0, "a"), end("a"), raw_message(0, "b"), raw_message(1, "b"), end("b"), raw_message(9, "b")]
    got, _ = run(messages, streams="ab", batch=1)
    assert names(got) == [("a", 0), ("a", None), ("b", 0), ("b", 1), ("b", None)]


def test_windows_that_waited_too_long_are_given_up_before_work_is_spent_on_them():
    stage = Doubling()
    ages = [FRESH_NS, STALE_NS, STALE_NS, FRESH_NS, STALE_NS]
    messages = [*(raw_message(seq, ended_ns=ended_ns) for seq, ended_ns in enumerate(ages)), end()]
    got, figures = run(messages, stage, batch=100, max_age_ms=MAX_AGE_MS)
    assert [(name, message.lost) for (_, name), message in zip(names(got), got, strict=True)] == [
        (0, {}),
        (3, {AGE: 2}),
        (None, {AGE: 3}),
    ]
    assert stage.batches == [2]
    assert figures["counts"] == {"received": 5, "sent": 2, "waiting": 0}
    assert figures["dropped"] == {AGE: 3}


def test_without_a_greatest_age_the_oldest_window_goes_through():
    got, _ = run([raw_message(ended_ns=0), end()], max_age_ms=None)
    assert names(got) == [("0", 0), ("0", None)]


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.integers(0, 2)), max_size=30),
    st.integers(1, 5),
    st.integers(1, 4),
)
def test_every_gap_is_explained_after_a_relay(windows, batch, queue):
    """Counts and numbers agree in each stream, wherever windows are dropped: before the relay, by age, by the queue."""
    made, earlier, messages = Counter(), Counter(), []
    for stream, fresh, lost_before in windows:
        made[stream] += lost_before
        earlier[stream] += lost_before
        ended_ns = FRESH_NS if fresh else STALE_NS
        messages.append(raw_message(made[stream], stream, lost={"earlier": earlier[stream]}, ended_ns=ended_ns))
        made[stream] += 1
    beats = itertools.count()
    messages += [end(stream, {"earlier": earlier[stream]}, made[stream]) for stream in "ab"]
    live = {"streams": "ab", "batch": batch, "max_age_ms": MAX_AGE_MS, "hwm": 1, "queue": queue, "delivery": "live"}
    with relay(messages, **live) as (stage_relay, reader):

        def read_now_and_then():
            figures = stage_relay.figures()
            counts = figures["counts"]
            assert counts["received"] == counts["sent"] + sum(figures["dropped"].values()) + counts["waiting"]
            if next(beats) % 3 == 2:
                reader()

        stage_relay.run(signals(), Beats(read_now_and_then))
        got = reader.all()
        dropped = stage_relay.figures()["dropped"]
    came = Counter()
    for message in got:
        assert message.seq - came[message.stream] == message.lost.total()
        came[message.stream] += 1
    lost = sum((message.lost for message in got if message.ends), Counter())
    assert lost == Counter(dropped) + Counter(earlier=earlier.total())
    assert set(dropped) <= {AGE, QUEUE}


def test_a_full_edge_queue_holds_the_relay_back_but_not_its_reports():
    """Lossless: a relay that cannot send does not receive either, and keeps reporting instead of blocking."""
    waiting, read = [], 0
    messages = [*(raw_message(seq) for seq in range(30)), end()]
    with relay(messages, batch=1, hwm=1, queue=3) as (stage_relay, reader):

        def read_at_every_other_beat():
            nonlocal read
            counts = stage_relay.figures()["counts"]
            if counts["received"] < 30:
                assert len(reader.messages) == read  # otherwise the sender had to wait and called the reader itself
            waiting.append(counts["waiting"])
            if len(waiting) % 2:
                reader()
            read = len(reader.messages)

        stage_relay.run(signals(), Beats(read_at_every_other_beat))
        got = reader.all()
        assert stage_relay.figures()["dropped"] == {}
    assert names(got) == [("0", seq) for seq in [*range(30), None]]
    assert max(waiting) == 3


def test_a_batch_that_does_not_fit_waits_in_the_edge_queue():
    waiting = []
    messages = [*(raw_message(seq) for seq in range(30)), end()]
    with relay(messages, batch=8, hwm=1, queue=3) as (stage_relay, reader):

        def read_one():
            waiting.append(stage_relay.figures()["counts"]["waiting"])
            reader()

        stage_relay.run(signals(), Beats(read_one))
        got = reader.all()
    assert names(got) == [("0", seq) for seq in [*range(30), None]]
    assert max(waiting) == 3


class Broken:
    def process(self, windows):
        raise AnonymizerError("the network failed")


def test_a_stage_that_raises_ends_the_relay_and_nothing_of_the_batch_comes_out():
    with relay([raw_message(0), raw_message(1), end()], Broken()) as (stage_relay, reader):
        with pytest.raises(AnonymizerError, match="the network failed"):
            stage_relay.run(signals(), Beats())
        assert reader.all() == []
        assert stage_relay.figures()["counts"]["sent"] == 0


def test_an_anonymizer_that_makes_fewer_windows_lets_none_out():
    stage = AnonymizeTransform(lambda counts: np.zeros((len(counts) - 1, 2, 3, 4), np.float32), SEAL)
    with relay([raw_message(0), raw_message(1), end()], stage) as (stage_relay, reader):
        with pytest.raises(AnonymizerError, match="expected 2 anonymized windows, got 1"):
            stage_relay.run(signals(), Beats())
        assert reader.all() == []


def test_raw_windows_become_sealed_and_then_classified_ones():
    def blur(counts):
        return np.stack([window.reshape(2, 3, 4) + np.float32(0.5) for window in counts])

    anonymized, _ = run(
        [raw_message(0, "a"), raw_message(4, "b", {"queue": 4}), end("a"), end("b")],
        AnonymizeTransform(blur, SEAL),
        streams="ab",
    )
    classified, _ = run(anonymized, ClassifyTransform(lambda values: np.stack([SCORES] * len(values))), streams="ab")
    assert names(classified) == [("a", 0), ("b", 4), ("a", None), ("b", None)]
    for message in classified[:2]:
        window = SEAL.check(message.window)
        counts = raw(window.origin.seq).counts.reshape(2, 3, 4)
        np.testing.assert_array_equal(window.values, counts + np.float32(0.5))
        np.testing.assert_array_equal(window.scores, SCORES)


def test_a_strangers_message_on_the_private_wire_ends_the_relay():
    with link(hwm=10) as (feed, receiver), link() as (push, _):
        feed.send_multipart([b"{}", b"", b""])
        sender = EdgeSender(push, 1, "live", stage_counters(), lambda: False)
        stage_relay = Relay(Doubling(), receiver, sender, stage_counters(), batch=1, max_age_ms=None)
        with pytest.raises(WireError):
            stage_relay.run(signals(), Beats())


def test_an_abort_ends_a_relay_that_waits_for_windows():
    stage_signals = signals()
    with relay([raw_message(0)]) as (stage_relay, reader):
        stage_relay.run(stage_signals, Beats(stage_signals.abort.set))
        assert stage_relay.figures()["counts"]["received"] == 1
        assert len(reader.all()) == 1


def test_a_supervisor_that_is_gone_is_an_abort():
    assert signals().aborted() is False
    assert replace(signals(), parent=SimpleNamespace(is_alive=lambda: False)).aborted() is True


def test_a_parent_lives_as_long_as_its_end_of_the_pipe():
    ours, its = os.pipe()
    try:
        assert replace(signals(), parent=ParentProcess(ours)).aborted() is False
        os.close(its)  # as the kernel does when the process ends, however it ends
        assert replace(signals(), parent=ParentProcess(ours)).aborted() is True
    finally:
        os.close(ours)


def test_receiving_takes_what_has_arrived_and_no_more_than_asked():
    with link(hwm=10) as (push, pull):
        assert receive(pull, 3) == []
        for seq in range(4):
            push.send_multipart(pack(raw_message(seq)))
        assert names(receive(pull, 3)) == [("0", 0), ("0", 1), ("0", 2)]
        assert names(receive(pull, 3)) == [("0", 3)]


def test_one_loud_source_delays_none_of_31_quiet_ones():
    """Fair queueing: a source that always has more to send takes no more than its turns, and loses only its own."""
    quiet = [f"q{number}" for number in range(31)]
    with zmq.Context() as context, context.socket(zmq.PULL) as pull:
        pull.rcvhwm, pull.linger = 1, 0
        pull.bind("inproc://fan-in")
        counters = {
            name: PipelineCounters([f"histogram:{name}"], [name])[f"histogram:{name}"] for name in ("loud", *quiet)
        }
        senders = {}
        for name, counts in counters.items():
            push = context.socket(zmq.PUSH)
            push.sndhwm, push.linger = 1, 0
            push.connect("inproc://fan-in")
            senders[name] = push, EdgeSender(push, 4, "live", counts, lambda: False)
        got, loud_seq = [], 0
        for turn in range(100):
            for _ in range(20):  # more than a batch takes
                senders["loud"][1].put(raw_message(loud_seq, "loud"))
                loud_seq += 1
            for number, name in enumerate(quiet):  # each once in ten turns: 3.1 windows a turn, of the 8 of a batch
                if turn % 10 == number % 10:
                    senders[name][1].put(raw_message(turn // 10, name))
            got.append([message.stream for message in receive(pull, 8)])
        for push, _ in senders.values():
            push.close()
    assert counters["loud"].dropped()["queue"] > 1000
    assert not any(counters[name].dropped() for name in quiet)
    for number, name in enumerate(quiet):
        sent = [turn for turn in range(100) if turn % 10 == number % 10]
        came = [turn for turn, streams in enumerate(got) if name in streams]
        assert len(came) == len(sent)
        assert max(there - here for here, there in zip(sent, came, strict=True)) <= 1  # at most a batch of waiting
