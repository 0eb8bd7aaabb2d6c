"""The counters of a whole pipeline, driven through random delays, drops and deaths: they balance at any moment.

The stages, their queues and sockets are the real ones; the test controls only the time and the order of work.
"""

from __future__ import annotations

import functools
import operator
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline_helpers import PROVENANCE, RUN, SCORES, SEAL, raw_message, signals

from eventveil.stream.protocol.wire import GESTURE, STATE, WINDOW, decode
from eventveil.stream.publisher.publisher import Publisher
from eventveil.stream.runtime.accounting import CRASH, PipelineCounters
from eventveil.stream.runtime.balance import balance
from eventveil.stream.runtime.edge_queue import EdgeSender
from eventveil.stream.runtime.message import StageMessage
from eventveil.stream.runtime.relay import Relay, receive
from eventveil.stream.runtime.sockets import PrivateSockets
from eventveil.stream.stages.transform import AnonymizeTransform, ClassifyTransform
from eventveil.stream.subscriber.client import NETWORK, Gaps

SOURCES, LATER = ("histogram:a", "histogram:b"), ("anonymize", "classify", "publish")
PATIENCE_S = 60.0
MAX_AGE_MS = 100


class StepwisePipeline:
    """A pipeline in one thread, whose stages work on command and can be killed."""

    def __init__(self, folder, context, delivery, queue):
        self.counters = PipelineCounters((*SOURCES, *LATER), ("a", "b"))
        self._sockets = PrivateSockets(folder, context)
        self._delivery, self._queue = delivery, queue
        self._public = context.socket(zmq.PUSH)
        self.subscriber = context.socket(zmq.PULL)
        self._public.sndhwm = self.subscriber.rcvhwm = 0
        self.subscriber.bind("inproc://public")
        self._public.connect("inproc://public")
        self.now_ns = 0
        self._open = {}
        self._do = {}
        for name in reversed(self.counters.stages):
            self.start(name)

    def start(self, name):
        self.counters[name].life += 1
        make = {"publish": self._publisher, "anonymize": self._relay, "classify": self._relay}
        self._do[name], self._open[name] = make.get(name, self._source)(name)

    def kill(self, name):
        """As kill -9 does: the sockets are gone, with all messages in them and in the stage."""
        for socket in self._open.pop(name):
            socket.close(linger=0)
        self.counters[name].close_after_crash()
        self.start(name)

    def work(self, name):
        self._do[name]()

    def make(self, stream):
        """Make a window in a source."""
        source = self.counters[f"histogram:{stream}"][stream]
        seq = source.received
        source.received += 1
        self._do[f"histogram:{stream}"](raw_message(seq, stream, ended_ns=self.now_ns))

    def end(self, stream):
        made = self.counters[f"histogram:{stream}"][stream].received
        self._do[f"histogram:{stream}"](StageMessage(stream, None, made=made))

    def close(self):
        for socket in (*functools.reduce(operator.iadd, self._open.values(), []), self._public, self.subscriber):
            socket.close(linger=0)

    def _sender(self, name, to):
        socket = self._sockets.push(to)
        # Lossless would block, and in one thread no other stage could make room meanwhile, so any number fits.
        queue = self._queue if self._delivery == "live" else 10_000
        return EdgeSender(socket, queue, self._delivery, self.counters[name], lambda: False), socket

    def _source(self, name):
        sender, socket = self._sender(name, "anonymize")

        def send(message=None):
            if message is not None:
                sender.put(message)
            sender.flush()
            sender.resend_end_of_stream()

        return send, [socket]

    def _relay(self, name):
        pull = self._sockets.pull(name)
        sender, push = self._sender(name, "classify" if name == "anonymize" else "publish")
        stage = AnonymizeTransform(blurred, SEAL) if name == "anonymize" else ClassifyTransform(scored)
        relay = Relay(
            stage, pull, sender, self.counters[name], batch=3, max_age_ms=MAX_AGE_MS if name == "anonymize" else None
        )

        def once():
            one_beat = signals()
            relay.run(one_beat, SimpleNamespace(beat=one_beat.abort.set))
            sender.flush()
            sender.resend_end_of_stream()

        return once, [pull, push]

    def _publisher(self, name):
        pull = self._sockets.pull(name)
        publisher = Publisher(
            self._public,
            SEAL,
            PROVENANCE,
            self.counters[name],
            run=RUN,
            max_age_ms=MAX_AGE_MS,
            clock_ns=lambda: self.now_ns,
        )

        def once():
            for message in receive(pull, 4):
                publisher.take(message)

        return once, [pull]


def blurred(counts):
    return np.stack([window.reshape(2, 3, 4) + np.float32(0.5) for window in counts])


def scored(values):
    return np.stack([SCORES] * len(values))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("make"), st.sampled_from("ab")),
        st.tuples(st.just("make"), st.sampled_from("ab")),
        st.tuples(st.just("work"), st.sampled_from((*SOURCES, *LATER))),
        st.tuples(st.just("work"), st.sampled_from((*SOURCES, *LATER))),
        st.tuples(st.just("wait"), st.sampled_from((10, 60, 150))),
        st.tuples(st.just("kill"), st.sampled_from((*SOURCES, *LATER))),
    ),
    max_size=50,
)


def assert_balanced(counters):
    figures = balance(counters)
    assert figures["balanced"]
    made = sum(figures["stages"][source]["received"] for source in SOURCES)
    published = figures["stages"]["publish"]["sent"]
    assert made == published + sum(counters.dropped().values()) + figures["in_flight"]
    return figures


@settings(max_examples=25)
@given(STEPS, st.sampled_from(["live", "lossless"]), st.integers(1, 3))
def test_counters_balance_through_delays_drops_and_deaths(steps, delivery, queue):
    clock = SimpleNamespace(ns=0)
    fake = SimpleNamespace(monotonic=time.monotonic, monotonic_ns=lambda: clock.ns)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("eventveil.stream.runtime.relay.time", fake)
        monkeypatch.setattr("eventveil.stream.runtime.edge_queue.RESEND_S", 0.0)
        drive(steps, delivery, queue, clock)


def drive(steps, delivery, queue, clock):
    with tempfile.TemporaryDirectory(prefix="ev-") as folder, zmq.Context() as context:
        pipeline = StepwisePipeline(Path(folder), context, delivery, queue)
        try:
            for verb, target in steps:
                if verb == "wait":
                    pipeline.now_ns += target * 1_000_000
                    clock.ns = pipeline.now_ns
                else:
                    getattr(pipeline, verb)(target)
                assert_balanced(pipeline.counters)
            for stream in "ab":
                pipeline.end(stream)
            deadline = time.monotonic() + PATIENCE_S
            while pipeline.counters["publish"].running():
                assert time.monotonic() < deadline
                for name in pipeline.counters.stages:
                    pipeline.work(name)
                assert_balanced(pipeline.counters)
            figures = assert_balanced(pipeline.counters)
            assert figures["in_flight"] == 0
            killed = any(verb == "kill" for verb, _ in steps)
            assert killed or CRASH not in pipeline.counters.dropped()
            assert_explained(pipeline)
        finally:
            pipeline.close()


def assert_explained(pipeline):
    """A subscriber that received everything published knows why every other window is missing."""
    gaps, missing, received = Gaps(), Counter(), Counter()
    while pipeline.subscriber.poll(0):
        message = gaps.fill_in(decode(pipeline.subscriber.recv_multipart()))
        if message.topic == STATE:
            lost = sum(message.header.lost.values())
            made = pipeline.counters[f"histogram:{message.header.stream}"][message.header.stream].received
            assert received[GESTURE, message.header.stream] + lost == made
            continue
        received[message.topic, message.header.stream] += 1
        missing.update(message.missing)
    assert not missing[NETWORK]
    assert sum(received[WINDOW, stream] for stream in "ab") == balance(pipeline.counters)["stages"]["publish"]["sent"]
