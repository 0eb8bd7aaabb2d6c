"""The reports of the stages to the supervisor: one a second, and one at every turn of a stage."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

import zmq
from pydantic import BaseModel, ConfigDict

from eventveil.errors import LineError
from eventveil.stream.runtime.accounting import StageCounters
from eventveil.stream.runtime.accuracy import MOST_WAITING, NOTES, Note
from eventveil.stream.runtime.latency import Delays

BEAT_S = 1.0


class StageReport(BaseModel):
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


class StageReporter:
    """A stage's voice. What it notes goes along with its next report, as a frame of its own.

    Args:
        page: the stage's books.
        socket: to the supervisor.
        figures: called for the current counts, drops and values.
    """

    def __init__(
        self, page: StageCounters, socket: zmq.Socket[bytes], figures: Callable[[], dict[str, Any]] | None = None
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
        report = StageReport.model_validate(who | {"kind": kind, "reason": reason} | self.figures())
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
