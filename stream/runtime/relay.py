"""Runs a transform between its two sockets: receive, drop what is too old, process, send, never block."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import zmq

from eventveil.stream.runtime.accounting import AGE, StageCounters
from eventveil.stream.runtime.edge_queue import EdgeSender
from eventveil.stream.runtime.latency import CoarseDelays
from eventveil.stream.runtime.message import StageMessage, unpack
from eventveil.stream.runtime.reporting import StageReporter
from eventveil.stream.runtime.signals import Signals
from eventveil.stream.runtime.stage import Transform

POLL_MS = 50  # how soon an idle stage notices a signal


class Relay:
    """Receives messages, passes their windows through a transform and sends them on, until every stream has ended.

    Args:
        transform: what to do with the windows.
        receiver: the socket that messages come from.
        sender: the edge to the next stage.
        counters: counters of the stage; they also determine how many streams have to end.
        batch: how many windows at most are processed at once.
        max_age_ms: windows that waited longer are dropped before they are processed; None: never.
    """

    def __init__(
        self,
        transform: Transform,
        receiver: zmq.Socket[bytes],
        sender: EdgeSender,
        counters: StageCounters,
        *,
        batch: int,
        max_age_ms: int | None,
    ) -> None:
        self._transform = transform
        self._receiver = receiver
        self._sender = sender
        self._counters = counters
        self._batch = batch
        self._max_age_ns = None if max_age_ms is None else max_age_ms * 1_000_000
        self._batches = 0
        self._ages = CoarseDelays()

    def figures(self) -> dict[str, Any]:
        """Counts and drops so far."""
        received, sent = self._counters.total("received"), self._counters.total("sent")
        counts = {"received": received, "sent": sent, "waiting": self._sender.windows}
        return {"counts": counts, "dropped": self._counters.dropped(), "age": self._ages.report()}

    def run(self, signals: Signals, report: StageReporter) -> None:
        """Work until every stream has ended or the pipeline is aborted."""
        while self._counters.running() and not signals.aborted():
            self._sender.flush()
            self._sender.resend_end_of_stream()
            if self._sender.full:
                self._sender.wait(POLL_MS)
            elif self._receiver.poll(5 if len(self._sender) else POLL_MS):
                self._handle(receive(self._receiver, self._batch))
            report.beat()
        while not signals.aborted() and not self._sender.drain(0.5):
            report.beat()

    def _handle(self, messages: Sequence[StageMessage]) -> None:
        messages = [message for message in messages if self._counters[message.stream].arrived(message)]
        fresh = [message for message in messages if message.window is not None and not self._too_old(message)]
        results = iter(self._process(fresh) if fresh else ())
        processed = set(map(id, fresh))
        for message in messages:
            if message.window is None:
                self._sender.put(message)
            elif id(message) in processed:
                message.window = next(results)
                self._ages.add(max(0, time.monotonic_ns() - message.window.origin.ended_ns) / 1e6)
                self._sender.put(message)
            else:
                self._counters[message.stream].drop(AGE)

    def _process(self, messages: Sequence[StageMessage]) -> Sequence[Any]:
        began_ns = time.monotonic_ns()
        results = self._transform.process([message.window for message in messages])
        if self._batches:  # the first batch may wait for a device or a compiler, so its time is not typical
            self._counters.work_ns = max(self._counters.work_ns, time.monotonic_ns() - began_ns)
        self._batches += 1
        return results

    def _too_old(self, message: StageMessage) -> bool:
        assert message.window is not None
        age_ns = time.monotonic_ns() - message.window.origin.ended_ns
        return self._max_age_ns is not None and age_ns > self._max_age_ns


def receive(receiver: zmq.Socket[bytes], most: int) -> list[StageMessage]:
    """Receive the messages that have arrived, at most `most`."""
    messages: list[StageMessage] = []
    while len(messages) < most:
        try:
            frames = receiver.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            break
        messages.append(unpack([frame.buffer for frame in frames]))
    return messages
