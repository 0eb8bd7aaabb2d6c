"""The books of a whole line, driven through random delays, drops and deaths: they balance whenever one looks.

The stages, their outboxes and sockets are the line's own; only time, and who works when, is the test's.
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
from pipeline_helpers import PROVENANCE, RUN, SCORES, SEAL, raw_parcel, signals

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

SOURCES, BEHIND = ("histogram:a", "histogram:b"), ("anonymize", "classify", "publish")
PATIENCE_S = 60.0
MAX_AGE_MS = 100


class Line:
    """A line in one thread, whose stages work when they are told to, and can be killed."""

    def __init__(self, folder, context, delivery, queue):
        self.books = PipelineCounters((*SOURCES, *BEHIND), ("a", "b"))
        self._sockets = PrivateSockets(folder, context)
        self._delivery, self._queue = delivery, queue
        self._public = context.socket(zmq.PUSH)
        self.heard = context.socket(zmq.PULL)
        self._public.sndhwm = self.heard.rcvhwm = 0
        self.heard.bind("inproc://public")
        self._public.connect("inproc://public")
        self.now_ns = 0
        self._open = {}
        self._do = {}
        for name in reversed(self.books.stages):
            self.start(name)

    def start(self, name):
        self.books[name].life += 1
        make = {"publish": self._publisher, "anonymize": self._relay, "classify": self._relay}
        self._do[name], self._open[name] = make.get(name, self._source)(name)

    def kill(self, name):
        """As kill -9 does: the sockets are gone, with what was in them and in the stage."""
        for socket in self._open.pop(name):
            socket.close(linger=0)
        self.books[name].close_after_crash()
        self.start(name)

    def work(self, name):
        self._do[name]()

    def make(self, stream):
        """A window of a source."""
        source = self.books[f"histogram:{stream}"][stream]
        seq = source.received
        source.received += 1
        self._do[f"histogram:{stream}"](raw_parcel(seq, stream, closed_ns=self.now_ns))

    def end(self, stream):
        made = self.books[f"histogram:{stream}"][stream].received
        self._do[f"histogram:{stream}"](StageMessage(stream, None, made=made))

    def close(self):
        for socket in (*functools.reduce(operator.iadd, self._open.values(), []), self._public, self.heard):
            socket.close(linger=0)

    def _outbox(self, name, to):
        socket = self._sockets.push(to)
        # Lossless would block: there is nobody who could make room meanwhile, so it takes any number.
        queue = self._queue if self._delivery == "live" else 10_000
        return EdgeSender(socket, queue, self._delivery, self.books[name], lambda: False), socket

    def _source(self, name):
        outbox, socket = self._outbox(name, "anonymize")

        def send(parcel=None):
            if parcel is not None:
                outbox.put(parcel)
            outbox.flush()
            outbox.resend_end_of_stream()

        return send, [socket]

    def _relay(self, name):
        pull = self._sockets.pull(name)
        outbox, push = self._outbox(name, "classify" if name == "anonymize" else "publish")
        stage = AnonymizeTransform(blurred, SEAL) if name == "anonymize" else ClassifyTransform(scored)
        relay = Relay(
            stage, pull, outbox, self.books[name], batch=3, max_age_ms=MAX_AGE_MS if name == "anonymize" else None
        )

        def once():
            told = signals()
            relay.run(told, SimpleNamespace(beat=told.abort.set))
            outbox.flush()
            outbox.resend_end_of_stream()

        return once, [pull, push]

    def _publisher(self, name):
        pull = self._sockets.pull(name)
        publisher = Publisher(
            self._public,
            SEAL,
            PROVENANCE,
            self.books[name],
            run=RUN,
            max_age_ms=MAX_AGE_MS,
            clock_ns=lambda: self.now_ns,
        )

        def once():
            for parcel in receive(pull, 4):
                publisher.take(parcel)

        return once, [pull]


def blurred(counts):
    return np.stack([window.reshape(2, 3, 4) + np.float32(0.5) for window in counts])


def scored(values):
    return np.stack([SCORES] * len(values))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("make"), st.sampled_from("ab")),
        st.tuples(st.just("make"), st.sampled_from("ab")),
        st.tuples(st.just("work"), st.sampled_from((*SOURCES, *BEHIND))),
        st.tuples(st.just("work"), st.sampled_from((*SOURCES, *BEHIND))),
        st.tuples(st.just("wait"), st.sampled_from((10, 60, 150))),
        st.tuples(st.just("kill"), st.sampled_from((*SOURCES, *BEHIND))),
    ),
    max_size=50,
)


def assert_balanced(books):
    figures = balance(books)
    assert figures["balanced"]
    made = sum(figures["stages"][source]["received"] for source in SOURCES)
    published = figures["stages"]["publish"]["sent"]
    assert made == published + sum(books.dropped().values()) + figures["in_flight"]
    return figures


@settings(max_examples=25)
@given(STEPS, st.sampled_from(["live", "lossless"]), st.integers(1, 3))
def test_books_balance_through_delays_drops_and_deaths(steps, delivery, queue):
    clock = SimpleNamespace(ns=0)
    fake = SimpleNamespace(monotonic=time.monotonic, monotonic_ns=lambda: clock.ns)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("eventveil.stream.runtime.relay.time", fake)
        monkeypatch.setattr("eventveil.stream.runtime.edge_queue.RESEND_S", 0.0)
        drive(steps, delivery, queue, clock)


def drive(steps, delivery, queue, clock):
    with tempfile.TemporaryDirectory(prefix="ev-") as folder, zmq.Context() as context:
        line = Line(Path(folder), context, delivery, queue)
        try:
            for verb, what in steps:
                if verb == "wait":
                    line.now_ns += what * 1_000_000
                    clock.ns = line.now_ns
                else:
                    getattr(line, verb)(what)
                assert_balanced(line.books)
            for stream in "ab":
                line.end(stream)
            deadline = time.monotonic() + PATIENCE_S
            while line.books["publish"].running():
                assert time.monotonic() < deadline
                for name in line.books.stages:
                    line.work(name)
                assert_balanced(line.books)
            figures = assert_balanced(line.books)
            assert figures["in_flight"] == 0
            killed = any(verb == "kill" for verb, _ in steps)
            assert killed or CRASH not in line.books.dropped()
            assert_told(line)
        finally:
            line.close()


def assert_told(line):
    """A subscriber that got all that was published can tell of every other window why it did not come."""
    gaps, missing, seen = Gaps(), Counter(), Counter()
    while line.heard.poll(0):
        message = gaps.fill_in(decode(line.heard.recv_multipart()))
        if message.topic == STATE:
            lost = sum(message.header.lost[GESTURE].values())
            made = line.books[f"histogram:{message.header.stream}"][message.header.stream].received
            assert seen[GESTURE, message.header.stream] + lost == made
            continue
        seen[message.topic, message.header.stream] += 1
        missing.update(message.missing)
    assert not missing[NETWORK]
    assert sum(seen[WINDOW, stream] for stream in "ab") == balance(line.books)["stages"]["publish"]["sent"]
