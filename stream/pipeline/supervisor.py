"""Supervises one stage of a pipeline: starts it, notices when it dies, hangs or crashes, and restarts it.

A hanging stage looks like a busy one, so each stage sets its own limit: ten times its longest batch so far, and never
less than `line.hang_s`. Until it has sent its first window it may have to load weights and compile, and gets a minute.

Restarts are limited: a stage that fails more often within a minute has a fault that a restart does not cure. Threads
cannot be killed and hence not restarted: a stage that fails in a thread ends the pipeline.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from eventveil.host.processes import describe_end
from eventveil.stream.runtime.accounting import StageCounters

START_S = 60.0
BATCHES = 10
MINUTE_S = 60.0


@dataclass(slots=True)
class Incident:
    """A stage that had to be restarted.

    Attributes:
        stage: its name.
        reason: what happened to it.
        at_s: when that was noticed, in seconds since the sources began.
        back_s: seconds until the stage was ready again; None: it is not ready yet.
    """

    stage: str
    reason: str
    at_s: float
    back_s: float | None = None


class StageSupervisor:
    """Supervises one stage.

    Args:
        counters: counters of the stage.
        make: creates its thread or process, given the seconds that its start may take.
        restarts: how often it may be restarted within a minute; 0: never.
        hang_s: seconds without a sign of life after which it counts as hanging; None: never.

    Attributes:
        member: the thread or process of its present life; None if that could not be started.
        ready: whether this life has been ready.
    """

    def __init__(
        self, counters: StageCounters, make: Callable[[float], Any], *, restarts: int, hang_s: float | None
    ) -> None:
        self.counters = counters
        self.member: Any = None
        self.ready = False
        self._make = make
        self._restarts = restarts
        self._hang_s = hang_s
        self._restarted_s: deque[float] = deque(maxlen=max(restarts, 1))  # times of the latest restarts
        self._incident: Incident | None = None

    def start(self) -> None:
        """Start a thread or process for the stage.

        Raises:
            LineError: it could not be started.
        """
        self.counters.life += 1
        self.counters.pulse()
        self.ready, self.member = False, None
        member = self._make(START_S if self.counters.life == 1 else min(START_S, self._hang_s or START_S))
        member.start()
        self.member = member

    def mark_ready(self) -> None:
        """Note that the stage is ready for work."""
        self.ready = True
        if self._incident is not None:
            self._incident.back_s = round(time.monotonic() - self._restarted_s[-1], 3)
            self._incident = None

    def failure(self) -> str | None:
        """Return what is wrong with the stage, or None."""
        if not self.member.is_alive():
            return _ended_by(getattr(self.member, "exitcode", None))
        silent_s = (time.monotonic_ns() - self.counters.beat_ns) / 1e9
        if self._hang_s is not None and silent_s > self._silence_limit_s(self._hang_s):
            return f"gave no sign of life for {silent_s:.1f} s"
        return None

    def may_restart(self) -> bool:
        """Whether the number of restarts within the last minute allows another one."""
        if self._restarts == 0:
            return False
        return len(self._restarted_s) < self._restarts or time.monotonic() - self._restarted_s[0] > MINUTE_S

    def restart(self, reason: str, at_s: float) -> Incident:
        """Kill the stage, count its in-flight windows as crashed, and start it again.

        Raises:
            LineError: it could not be started.
        """
        self._restarted_s.append(time.monotonic())
        self.end()
        self.counters.close_after_crash()
        self._incident = Incident(self.counters.name, reason, round(at_s, 3))
        self.start()
        return self._incident

    def end(self) -> None:
        """Kill the process, halted or not, and wait until it is gone."""
        if self.member is not None:
            self.member.kill()
            self.member.join(START_S)

    def _silence_limit_s(self, hang_s: float) -> float:
        if not (self.ready and self.counters.total("sent")):
            return max(START_S, hang_s)
        return max(hang_s, BATCHES * self.counters.work_ns / 1e9)


def _ended_by(code: int | None) -> str:
    return "the stage died" if code is None else describe_end("the stage", code)
