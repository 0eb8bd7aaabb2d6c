"""Runs one stage between its sockets: signals, reports, draining, and never waiting for ever.

A stage itself knows nothing of this. Whether it runs as a thread or as a process only changes what `Signals` are made
of and where the sockets' endpoints lie.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import zmq
from pydantic import BaseModel, ConfigDict

from eventveil.errors import LineError
from eventveil.stream.books import AGE, Books, Flag, Page
from eventveil.stream.latency import CoarseDelays, Delays
from eventveil.stream.outbox import Outbox
from eventveil.stream.parcel import Parcel, unpack
from eventveil.stream.score import MOST_WAITING, NOTES, Note

POLL_MS = 50  # how soon a stage that has nothing to do notices a signal
BEAT_S = 1.0


class Parent(Protocol):
    """What is asked of the process that started this one."""

    def is_alive(self) -> bool:
        """Whether it is still there."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What the supervisor tells the stages.

    Attributes:
        go: every stage is ready: sources may begin.
        stop: sources end their streams; what is on its way is still published.
        abort: everybody leaves now.
        parent: the supervisor's process, where it is another one; when it is gone, that is an abort, too.
    """

    go: Flag
    stop: Flag
    abort: Flag
    parent: Parent | None

    @classmethod
    def of(cls, books: Books) -> Signals:
        """The signals that lie with a line's books, for a stage of this thread or process."""
        return cls(books.flag(0), books.flag(1), books.flag(2), multiprocessing.parent_process())

    def aborted(self) -> bool:
        """Whether to leave now."""
        return self.abort.is_set() or (self.parent is not None and not self.parent.is_alive())


class Report(BaseModel):
    """What a stage tells the supervisor.

    Attributes:
        stage: its name.
        life: 1, and one more each time that it was started anew.
        pid: of its process.
        kind: `ready`, `beat` (once a second), `ended`, `failed` with a reason, or `crashed` with one: a fresh start may
            help.
        counts: totals since the start: windows received, sent, ...
        dropped: windows given up here since the start, by reason.
        age: of windows leaving the stage, since the start; None where it makes them.
        values: figures of the last second, such as latencies; of the whole run in the last report.
        reason: what went wrong; free of event data.
    """

    model_config = ConfigDict(extra="forbid")

    stage: str
    life: int = 1
    pid: int = 0
    kind: Literal["ready", "beat", "ended", "failed", "crashed"]
    counts: dict[str, int] = {}
    dropped: dict[str, int] = {}
    values: dict[str, float | None] = {}
    age: Delays | None = None
    reason: str = ""


class Reporter:
    """A stage's voice. What it notes goes along with its next report, as a frame of its own.

    Args:
        page: the stage's books.
        socket: to the supervisor.
        figures: called for the current counts, drops and values.
    """

    def __init__(
        self, page: Page, socket: zmq.Socket[bytes], figures: Callable[[], dict[str, Any]] | None = None
    ) -> None:
        self.stage = page.name
        self.figures: Callable[[], dict[str, Any]] = figures or dict
        self._page = page
        self._socket = socket
        self._next_beat = time.monotonic() + BEAT_S
        self._notes: deque[Note] = deque(maxlen=MOST_WAITING)  # while the supervisor is halted they wait

    def note(self, note: Note) -> None:
        """Note what a window shows, or what was recognised in it."""
        self._notes.append(note)

    def say(self, kind: str, reason: str = "") -> None:
        """Send a report; one that finds the supervisor's queue full is not worth blocking for."""
        self._page.pulse()
        who = {"stage": self.stage, "life": self._page.life, "pid": os.getpid()}
        report = Report.model_validate(who | {"kind": kind, "reason": reason} | self.figures())
        try:
            frames = [report.model_dump_json().encode(), NOTES.dump_json(list(self._notes))]
            self._socket.send_multipart(frames, zmq.NOBLOCK)
            self._notes.clear()
        except zmq.Again:
            if kind != "beat":
                raise LineError(f"{self.stage}: the supervisor does not listen any more") from None

    def beat(self) -> None:
        """Give a sign of life, and report once a second."""
        self._page.pulse()
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
        page: the stage's books; they say how many streams have to end.
        batch: how many windows at most are processed at once.
        max_age_ms: windows that waited longer are given up before work is spent on them; None: never.
    """

    def __init__(
        self,
        stage: Stage,
        inbox: zmq.Socket[bytes],
        outbox: Outbox,
        page: Page,
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

    def run(self, signals: Signals, report: Reporter) -> None:
        """Work until every stream has ended or the line is aborted."""
        while self._page.running() and not signals.aborted():
            self._outbox.flush()
            self._outbox.remind()
            if self._outbox.full:
                self._outbox.wait(POLL_MS)
            elif self._inbox.poll(5 if len(self._outbox) else POLL_MS):
                self._handle(receive(self._inbox, self._batch))
            report.beat()
        while not signals.aborted() and not self._outbox.drain(0.5):
            report.beat()

    def _handle(self, parcels: Sequence[Parcel]) -> None:
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

    def _process(self, parcels: Sequence[Parcel]) -> Sequence[Any]:
        began_ns = time.monotonic_ns()
        results = self._stage.process([parcel.window for parcel in parcels])
        if self._batches:  # the first batch may have to wait for a device or a compiler, and sets no example
            self._page.work_ns = max(self._page.work_ns, time.monotonic_ns() - began_ns)
        self._batches += 1
        return results

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
