"""Keeps one stage of a line alive: starts it, notices that it died, hangs or crashed, and starts it anew.

A stage that hangs cannot be told from one that works long, but by a measure of its own: it is given ten times as long
as it took for a batch so far, and never less than `line.hang_s`. Until it has handed on its first window it may have
to load weights and to compile, and is given a minute.

Restarts are few: who fails more often within a minute has a reason that a fresh start does not cure. Threads cannot be
killed, so there is nothing to start anew: a stage that fails there ends the line.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.context
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import forkserver
from typing import Any

from eventveil.errors import ConfigError
from eventveil.processes import describe_exit, ignored_signals
from eventveil.stream.runtime.accounting import StageCounters

PRELOAD = ["eventveil.stream.pipeline.worker", "eventveil.models.runtime", "eventveil.models.weights"]
START_S = 60.0
BATCHES = 10
MINUTE_S = 60.0


def processes() -> multiprocessing.context.ForkServerContext:
    """How processes are made: from one that has read everything a stage needs, and done nothing else.

    A stage that is started anew is back in a fraction of a second; reading torch alone takes seconds on a busy machine.
    That process has neither threads nor sockets, so that nobody inherits a lock which nobody will ever open. It is born
    deaf to Ctrl-C and SIGTERM, as all that it makes: a terminal and a service manager send them to everybody, and the
    supervisor decides what they mean.

    Raises:
        ConfigError: it cannot be started, as where the folder for temporary files has too long a path for a socket.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    try:
        with ignored_signals(signal.SIGINT, signal.SIGTERM):
            forkserver.ensure_running()
    except OSError as error:
        raise ConfigError(
            f"line.run_as: processes cannot be started with temporary files in {tempfile.gettempdir()}: {error}; set "
            "TMPDIR to a folder of yours with a path under 70 bytes"
        ) from error
    return context


@dataclass(slots=True)
class Incident:
    """A stage that had to be started anew.

    Attributes:
        stage: its name.
        reason: what happened to it.
        at_s: when that was noticed, in seconds since the sources began.
        back_s: how long it took until the stage was ready again; None: it is not yet.
    """

    stage: str
    reason: str
    at_s: float
    back_s: float | None = None


class StageSupervisor:
    """Keeps one stage.

    Args:
        page: the stage's books.
        make: makes its thread or process.
        restarts: how often in a minute it may be started anew; 0: never.
        hang_s: after how long without a sign of life it is given up; None: never.

    Attributes:
        member: the thread or process of its present life.
        ready: whether this life has been ready.
    """

    def __init__(self, page: StageCounters, make: Callable[[], Any], *, restarts: int, hang_s: float | None) -> None:
        self.page = page
        self.member: Any = None
        self.ready = False
        self._make = make
        self._restarts = restarts
        self._hang_s = hang_s
        self._lately: deque[float] = deque(maxlen=max(restarts, 1))
        self._incident: Incident | None = None
        self._began_s = 0.0

    def start(self) -> None:
        """Begin a life."""
        self.page.life += 1
        self.page.pulse()
        self.ready = False
        self.member = self._make()
        self.member.start()

    def is_ready(self) -> None:
        """Note that this life can work."""
        self.ready = True
        if self._incident is not None:
            self._incident.back_s = round(time.monotonic() - self._began_s, 3)
            self._incident = None

    def failure(self) -> str | None:
        """What is wrong with the stage, or None."""
        if not self.member.is_alive():
            return _ended_by(getattr(self.member, "exitcode", None))
        silent_s = (time.monotonic_ns() - self.page.beat_ns) / 1e9
        if self._hang_s is not None and silent_s > self._patience_s(self._hang_s):
            return f"gave no sign of life for {silent_s:.1f} s"
        return None

    def may_restart(self) -> bool:
        """Whether it has been started anew few enough times in the last minute."""
        if self._restarts == 0:
            return False
        return len(self._lately) < self._restarts or time.monotonic() - self._lately[0] > MINUTE_S

    def restart(self, reason: str, at_s: float) -> Incident:
        """End this life, close its books and begin the next one."""
        self._began_s = time.monotonic()
        self.end()
        self.page.close_after_crash()
        self._lately.append(self._began_s)
        self._incident = Incident(self.page.name, reason, round(at_s, 3))
        self.start()
        return self._incident

    def end(self) -> None:
        """Kill the process, halted or not, and wait until it is gone."""
        self.member.kill()
        self.member.join()

    def _patience_s(self, hang_s: float) -> float:
        if not (self.ready and self.page.total("sent")):
            return max(START_S, hang_s)
        return max(hang_s, BATCHES * self.page.work_ns / 1e9)


def _ended_by(code: int | None) -> str:
    if code is None:
        return "the stage died"
    return f"the stage {'was' if code < 0 else 'ended with'} {describe_exit(code)}"
