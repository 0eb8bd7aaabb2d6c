"""Runs a transform between its two sockets: receive, drop what is too old, process, send, never block."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

import zmq

from eventveil.stream.runtime.accounting import AGE, StageCounters
from eventveil.stream.runtime.edge_queue import EdgeSender
from eventveil.stream.runtime.latency import CoarseDelays
from eventveil.stream.runtime.message import StageMessage, unpack
from eventveil.stream.runtime.reporting import StageReporter
from eventveil.stream.runtime.signals import Signals

POLL_MS = 50  # how soon a stage that has nothing to do notices a signal


class Transform(Protocol):
    """A stage in the middle of the line: a batch of windows in, as many out, in order."""

    def process(self, windows: Sequence[Any]) -> Sequence[Any]:
        """Do to the windows what the stage is for."""


class Relay:
    """Takes parcels from a socket, through a stage, into an outbox, until every stream has ended.

    Args:
        stage: what to do.
        inbox: where parcels come from.
        outbox: where they go.
        page: the stage's books; they say how many streams have to end.
        batch: how many windows at most are processed at once.
        max_age_ms: windows that waited longer are given up before work is spent on them; None: never.
    """

    def __init__(
        self,
        stage: Transform,
        inbox: zmq.Socket[bytes],
        outbox: EdgeSender,
        page: StageCounters,
        *,
        batch: int,
        max_age_ms: int | None,
    ) -> None:
        self._stage = stage
        self._inbox = inbox
        self._outbox = outbox
        self._page = page
        self._batch = batch
        self._max_age_ns = None if max_age_ms is None else max_age_ms * 1_000_000
        self._batches = 0
        self._ages = CoarseDelays()

    def figures(self) -> dict[str, Any]:
        """Counts and drops so far."""
        page = self._page
        counts = {"received": page.total("received"), "sent": page.total("sent"), "waiting": self._outbox.windows}
        return {"counts": counts, "dropped": page.dropped(), "age": self._ages.report()}

    def run(self, signals: Signals, report: StageReporter) -> None:
        """Work until every stream has ended or the line is aborted."""
        while self._page.running() and not signals.aborted():
            self._outbox.flush()
            self._outbox.resend_end_of_stream()
            if self._outbox.full:
                self._outbox.wait(POLL_MS)
            elif self._inbox.poll(5 if len(self._outbox) else POLL_MS):
                self._handle(receive(self._inbox, self._batch))
            report.beat()
        while not signals.aborted() and not self._outbox.drain(0.5):
            report.beat()

    def _handle(self, parcels: Sequence[StageMessage]) -> None:
        parcels = [parcel for parcel in parcels if self._page[parcel.stream].arrived(parcel)]
        fresh = [parcel for parcel in parcels if parcel.window is not None and not self._too_old(parcel)]
        results = iter(self._process(fresh) if fresh else ())
        kept = set(map(id, fresh))
        for parcel in parcels:
            if parcel.window is None:
                self._outbox.put(parcel)
            elif id(parcel) in kept:
                parcel.window = next(results)
                self._ages.add((time.monotonic_ns() - parcel.window.origin.closed_ns) / 1e6)
                self._outbox.put(parcel)
            else:
                self._page[parcel.stream].drop(AGE)

    def _process(self, parcels: Sequence[StageMessage]) -> Sequence[Any]:
        began_ns = time.monotonic_ns()
        results = self._stage.process([parcel.window for parcel in parcels])
        if self._batches:  # the first batch may have to wait for a device or a compiler, and sets no example
            self._page.work_ns = max(self._page.work_ns, time.monotonic_ns() - began_ns)
        self._batches += 1
        return results

    def _too_old(self, parcel: StageMessage) -> bool:
        assert parcel.window is not None
        age_ns = time.monotonic_ns() - parcel.window.origin.closed_ns
        return self._max_age_ns is not None and age_ns > self._max_age_ns


def receive(inbox: zmq.Socket[bytes], most: int) -> list[StageMessage]:
    """Take what has arrived, at most so many parcels."""
    parcels: list[StageMessage] = []
    while len(parcels) < most:
        try:
            frames = inbox.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            break
        parcels.append(unpack([frame.buffer for frame in frames]))
    return parcels
