"""The stages' reports to the supervisor: one a second, and one at each change of a stage's state."""

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
from eventveil.stream.runtime.accuracy import MAX_WAITING, NOTES, Note
from eventveil.stream.runtime.latency import Delays

BEAT_S = 1.0


class StageReport(BaseModel):
    """A stage's report to the supervisor.

    Attributes:
        stage: its name.
        life: 1, plus one for each restart.
        pid: its process ID.
        kind: `ready`, `beat` (once a second), `ended` (its work is complete), `aborted` (the supervisor ended it before
            that), `failed` with a reason, or `crashed` with one if a restart may help.
        counts: totals since the start: windows received, sent, ...
        dropped: windows dropped here since the start, by reason.
        omissions: of a recording, what was left out of its files or corrected in them, by reason.
        gestures: of the publisher, gestures published since it was started, by stream and label; those without a label
            are not counted.
        age: age of the windows that left the stage since the start; None for a source.
        runs_on: device and precision of a stage with a network, such as "cpu, fp32".
        values: figures of the last second, such as latencies; of the whole run in the last report.
        reason: what went wrong; free of event data.
    """

    model_config = ConfigDict(extra="forbid")

    stage: str
    life: int = 1
    pid: int = 0
    kind: Literal["ready", "beat", "ended", "aborted", "failed", "crashed"]
    counts: dict[str, int] = {}
    dropped: dict[str, int] = {}
    omissions: dict[str, int] = {}
    gestures: dict[str, dict[str, int]] = {}
    values: dict[str, float | None] = {}
    age: Delays | None = None
    runs_on: str | None = None
    reason: str = ""


class StageReporter:
    """Sends a stage's status reports to the supervisor. Notes travel with the next report, in a separate frame.

    Args:
        counters: counters of the stage.
        socket: to the supervisor.
        figures: returns the current counts, drops and values.

    Attributes:
        runs_on: device and precision of a stage with a network.
    """

    def __init__(
        self, counters: StageCounters, socket: zmq.Socket[bytes], figures: Callable[[], dict[str, Any]] | None = None
    ) -> None:
        self.stage = counters.name
        self.figures: Callable[[], dict[str, Any]] = figures or dict
        self.runs_on: str | None = None
        self._counters = counters
        self._socket = socket
        self._next_beat = time.monotonic() + BEAT_S
        self._notes: deque[Note] = deque(maxlen=MAX_WAITING)  # they wait here while the supervisor is halted

    def note(self, note: Note) -> None:
        """Note what a window shows, or what was recognised in it."""
        self._notes.append(note)

    def send(self, kind: str, reason: str = "") -> None:
        """Send a report without blocking; a beat that finds the supervisor's queue full is skipped.

        Raises:
            LineError: the queue is full, and the report is not a beat.
        """
        self._counters.pulse()
        identity = {"stage": self.stage, "life": self._counters.life, "pid": os.getpid(), "runs_on": self.runs_on}
        report = StageReport.model_validate(identity | {"kind": kind, "reason": reason} | self.figures())
        try:
            frames = [report.model_dump_json().encode(), NOTES.dump_json(list(self._notes))]
            self._socket.send_multipart(frames, zmq.NOBLOCK)
            self._notes.clear()
        except zmq.Again:
            if kind != "beat":
                raise LineError(f"{self.stage}: the supervisor no longer receives reports") from None

    def beat(self) -> None:
        """Record a heartbeat, and report once a second."""
        self._counters.pulse()
        now = time.monotonic()
        if now >= self._next_beat:
            self._next_beat = now + BEAT_S
            self.send("beat")
