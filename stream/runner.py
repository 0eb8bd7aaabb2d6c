"""Runs one stage between its sockets: signals, reports, draining, and never waiting for ever.

A stage itself knows nothing of this. Whether it runs as a thread or as a process only changes what `Signals` are made
of and where the sockets' endpoints lie.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import zmq
from pydantic import BaseModel, ConfigDict

from eventveil.errors import LineError
from eventveil.stream.latency import CoarseDelays, Delays
from eventveil.stream.outbox import AGE, Outbox
from eventveil.stream.parcel import Parcel, unpack
from eventveil.stream.score import NOTES, Note

POLL_MS = 50  # how soon a stage that has nothing to do notices a signal
BEAT_S = 1.0


class Flag(Protocol):
    """What `threading.Event` and `multiprocessing.Event` have in common."""

    def is_set(self) -> bool:
        """Whether it is set."""

    def set(self) -> None:
        """Set it."""

    def wait(self, timeout: float) -> bool:
        """Wait until it is set, or so many seconds."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What the supervisor tells the stages.

    Attributes:
        go: every stage is ready: sources may begin.
        stop: sources end their streams; what is on its way is still published.
        abort: everybody leaves now.
        parent: process id of the supervisor; when it is gone, that is an abort too.
    """

    go: Flag
    stop: Flag
    abort: Flag
    parent: int

    def aborted(self) -> bool:
        """Whether to leave now."""
        return self.abort.is_set() or (self.parent != os.getpid() and self.parent != os.getppid())


class Report(BaseModel):
    """What a stage tells the supervisor.

    Attributes:
        stage: its name.
        kind: `ready`, `beat` (once a second), `ended`, or `failed` with a reason.
        counts: totals since the start: windows received, sent, ...
        dropped: windows given up here since the start, by reason.
        age: of windows leaving the stage, since the start; None where it makes them.
        values: figures of the last second, such as latencies; of the whole run in the last report.
        reason: what went wrong; free of event data.
    """

    model_config = ConfigDict(extra="forbid")

    stage: str
    kind: Literal["ready", "beat", "ended", "failed"]
    counts: dict[str, int] = {}
    dropped: dict[str, int] = {}
    values: dict[str, float | None] = {}
    age: Delays | None = None
    reason: str = ""


class Reporter:
    """A stage's voice. What it notes goes along with its next report, as a frame of its own.

    Args:
        stage: its name.
        socket: to the supervisor.
        figures: called for the current counts, drops and values.
    """

    def __init__(
        self, stage: str, socket: zmq.Socket[bytes], figures: Callable[[], dict[str, Any]] | None = None
    ) -> None:
        self.stage = stage
        self.figures: Callable[[], dict[str, Any]] = figures or dict
        self._socket = socket
        self._next_beat = time.monotonic() + BEAT_S
        self._notes: list[Note] = []

    def note(self, note: Note) -> None:
        """Note what a window shows, or what was recognised in it."""
        self._notes.append(note)

    def say(self, kind: str, reason: str = "") -> None:
        """Send a report; one that finds the supervisor's queue full is not worth blocking for."""
        report = Report.model_validate({"stage": self.stage, "kind": kind, "reason": reason, **self.figures()})
        try:
            self._socket.send_multipart([report.model_dump_json().encode(), NOTES.dump_json(self._notes)], zmq.NOBLOCK)
            self._notes.clear()
        except zmq.Again:
            if kind != "beat":
                raise LineError(f"{self.stage}: the supervisor does not listen any more") from None

    def beat(self) -> None:
        """Report once a second."""
        now = time.monotonic()
        if now >= self._next_beat:
            self._next_beat = now + BEAT_S
            self.say("beat")


class Stage(Protocol):
    """A stage in the middle of the line: a batch of windows in, as many out, in order."""

    def process(self, windows: Sequence[Any]) -> Sequence[Any]:
        """Do to the windows what the stage is for."""


class Relay:
    """Takes parcels from a socket, through a stage, into an outbox, until every stream has ended.

    Args:
        stage: what to do.
        inbox: where parcels come from.
        outbox: where they go.
        streams: how many streams have to end.
        batch: how many windows at most are processed at once.
        max_age_ms: windows that waited longer are given up before work is spent on them; None: never.
    """

    def __init__(
        self,
        stage: Stage,
        inbox: zmq.Socket[bytes],
        outbox: Outbox,
        *,
        streams: int,
        batch: int,
        max_age_ms: int | None,
    ) -> None:
        self._stage = stage
        self._inbox = inbox
        self._outbox = outbox
        self._running = streams
        self._batch = batch
        self._max_age_ns = None if max_age_ms is None else max_age_ms * 1_000_000
        self._received = 0
        self._ages = CoarseDelays()

    def figures(self) -> dict[str, Any]:
        """Counts and drops so far."""
        counts = {"received": self._received, "sent": self._outbox.sent, "waiting": len(self._outbox)}
        return {"counts": counts, "dropped": dict(self._outbox.lost.total), "age": self._ages.report()}

    def run(self, signals: Signals, report: Reporter) -> None:
        """Work until every stream has ended or the line is aborted."""
        while self._running and not signals.aborted():
            self._outbox.flush()
            if self._outbox.full:
                self._outbox.wait(POLL_MS)
            elif self._inbox.poll(5 if len(self._outbox) else POLL_MS):
                self._handle(receive(self._inbox, self._batch))
            report.beat()
        while not signals.aborted() and not self._outbox.drain(0.5):
            report.beat()

    def _handle(self, parcels: Sequence[Parcel]) -> None:
        fresh = [parcel for parcel in parcels if parcel.window is not None and not self._too_old(parcel)]
        self._received += sum(parcel.window is not None for parcel in parcels)
        results = iter(self._stage.process([parcel.window for parcel in fresh]) if fresh else ())
        kept = set(map(id, fresh))
        for parcel in parcels:
            if parcel.window is None:
                self._running -= parcel.ends
                self._outbox.put(parcel)
            elif id(parcel) in kept:
                parcel.window = next(results)
                self._ages.add((time.monotonic_ns() - parcel.window.origin.closed_ns) / 1e6)
                self._outbox.put(parcel)
            else:
                self._outbox.lost.drop(parcel, AGE)

    def _too_old(self, parcel: Parcel) -> bool:
        assert parcel.window is not None
        age_ns = time.monotonic_ns() - parcel.window.origin.closed_ns
        return self._max_age_ns is not None and age_ns > self._max_age_ns


def receive(inbox: zmq.Socket[bytes], most: int) -> list[Parcel]:
    """Take what has arrived, at most so many parcels."""
    parcels: list[Parcel] = []
    while len(parcels) < most:
        try:
            frames = inbox.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            break
        parcels.append(unpack([frame.buffer for frame in frames]))
    return parcels
