"""The line: which stages there are, how they are wired, and the supervisor that starts, watches and ends them.

    histogram (one per source) --> anonymize --> classify --> publish

The receiving side of each edge binds, so several sources fan into one anonymizer. Without a classifier its stage is
left out. Nobody waits for ever: a stage that dies or raises ends the line, a stopped line has `STOP_S` to drain, and
stages whose supervisor is gone leave by themselves.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zmq

from eventveil.stream.planning import plan
from eventveil.stream.runner import Report, Signals
from eventveil.stream.score import NOTES, Score
from eventveil.stream.settings import RunSettings
from eventveil.stream.sockets import PrivateSockets, runtime_folder
from eventveil.stream.stages import (
    ENDED_FLUSH_MS,
    REPORTS,
    Post,
    run_anonymize,
    run_classify,
    run_histogram,
    run_publish,
    serve,
)
from eventveil.stream.windows import Seal

STOP_S = 2.0  # to publish what is on its way once a stop was asked for
LEAVE_S = 0.5  # to leave after that


@dataclass(slots=True)
class Status:
    """What is known of a running line, or of one that has ended.

    Attributes:
        seconds: since the sources began.
        stages: the last report of each stage.
        score: what was recognised, held against what is known to be shown; None where nothing is.
        failure: why the line failed, or None.
        stopped: True where somebody stopped it before its streams had ended.
    """

    seconds: float = 0.0
    stages: dict[str, Report] = field(default_factory=dict)
    score: Score | None = None
    failure: str | None = None
    stopped: bool = False

    def total(self, stage: str, count: str) -> int:
        """The sum of a count over the stages whose name begins so."""
        return sum(report.counts.get(count, 0) for name, report in self.stages.items() if name.startswith(stage))

    def value(self, stage: str, name: str) -> float | None:
        """A figure of a stage's last report."""
        return self.stages[stage].values.get(name) if stage in self.stages else None

    def dropped(self) -> dict[str, int]:
        """Windows given up, by reason, in all stages together."""
        reasons: dict[str, int] = {}
        for report in self.stages.values():
            for reason, number in report.dropped.items():
                reasons[reason] = reasons.get(reason, 0) + number
        return reasons


class Line:
    """A line that can be run once.

    Args:
        settings: what to run; weights are loaded and checked here, before anything starts.

    Raises:
        ConfigError, WeightsError: see `eventveil.stream.planning.plan`.
        BoundaryError: the runtime folder is open to others.
    """

    def __init__(self, settings: RunSettings) -> None:
        self.plan = plan(settings)
        judged = self.plan.judged
        self.status = Status(score=Score(self.plan.provenance.labels, judged) if judged else None)
        self.members: dict[str, Any] = {}  # threads or processes, by stage
        self._processes = settings.line.run_as == "processes"
        # spawn: a forked child would inherit locks and sockets of threads that do not exist in it.
        make: Any = multiprocessing.get_context("spawn") if self._processes else threading
        self._signals = Signals(go=make.Event(), stop=make.Event(), abort=make.Event(), parent=os.getpid())
        self._member: Any = make.Process if self._processes else threading.Thread
        self._base: str | Path = runtime_folder(settings.line.runtime_dir) if self._processes else uuid.uuid4().hex
        self._own_folder = self._processes and settings.line.runtime_dir is None
        self._asked_to_stop = False
        self._stop_by: float | None = None

    def stop(self) -> None:
        """End the streams, publish what is on its way, and leave. Asked twice: leave at once."""
        if self._asked_to_stop:
            self._signals.abort.set()
        self._asked_to_stop = True
        self._signals.stop.set()

    def run(self, on_beat: Callable[[Status], None] = lambda _: None) -> Status:
        """Run to the end of all streams, to a failure, or until stopped.

        Args:
            on_beat: called about once a second with the status so far.

        Returns:
            The status at the end; `failure` says whether it ended well.
        """
        with zmq.Context() as context, PrivateSockets(self._base, context).pull(REPORTS, hwm=1000) as reports:
            try:
                with _deaf_to_ctrl_c():
                    self._start(context)
                self._supervise(reports, on_beat)
            finally:
                self._leave(reports)
        return self.status

    def _start(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        key = Seal.new_key()
        jobs: list[tuple[str, tuple[Any, ...]]] = [("publish", (run_publish, key)), ("anonymize", (run_anonymize, key))]
        if self.plan.provenance.classifier is not None:
            jobs.insert(1, ("classify", (run_classify,)))
        for number, source in enumerate(self.plan.settings.sources):
            jobs.append((f"histogram:{source.stream}", (run_histogram, number)))
        shared = {} if self._processes else {"context": context}
        for name, job in jobs:
            post = Post(name, self._base, self._signals)
            self.members[name] = self._member(
                target=serve, args=(post, self.plan, *job), kwargs=shared, name=f"eventveil {name}", daemon=True
            )
            self.members[name].start()

    def _supervise(self, reports: zmq.Socket[bytes], on_beat: Callable[[Status], None]) -> None:
        next_beat = began = time.monotonic()
        while True:
            self._listen(reports, 50)
            now = time.monotonic()
            known = self.status.stages
            if not self._signals.go.is_set() and all(name in known for name in self.members):
                self._signals.go.set()
                next_beat, began = now + 1.0, now
            if self._signals.go.is_set() and now >= next_beat:
                next_beat += 1.0
                self.status.seconds = now - began
                on_beat(self.status)
            self._look_after(reports)
            self.status.seconds = now - began
            if self._finished(now):
                return

    def _listen(self, reports: zmq.Socket[bytes], milliseconds: int) -> None:
        while reports.poll(milliseconds):
            milliseconds = 0
            words, notes = reports.recv_multipart()
            report = Report.model_validate_json(words)
            self.status.stages[report.stage] = report
            if self.status.score is not None:
                self.status.score.take(NOTES.validate_json(notes))
            if report.kind == "failed" and self.status.failure is None:
                self._fail(report.stage, report.reason)

    def _fail(self, stage: str, reason: str) -> None:
        self.status.failure = f"{stage}: {reason}"
        # A source that fails has sent on all that it had read: that is still published. Any other stage's failure
        # closes the line at once.
        (self._signals.stop if stage.startswith("histogram") else self._signals.abort).set()

    def _look_after(self, reports: zmq.Socket[bytes]) -> None:
        for name, member in self.members.items():
            if not member.is_alive() and not self._ended(name):
                self._listen(reports, 200)  # its last words may still be on their way
                if not self._ended(name) and self.status.failure is None:
                    self.status.failure = f"{name}: the stage died (exit code {getattr(member, 'exitcode', None)})"
                    self._signals.abort.set()

    def _ended(self, name: str) -> bool:
        return name in self.status.stages and self.status.stages[name].kind in ("ended", "failed")

    def _finished(self, now: float) -> bool:
        if self._signals.abort.is_set() or all(self._ended(name) for name in self.members):
            return True
        if not self._asked_to_stop:
            return False
        self.status.stopped = self.status.failure is None
        if not self._signals.go.is_set():
            return True  # nothing has been read yet
        self._stop_by = self._stop_by or now + STOP_S
        if now > self._stop_by:
            self.status.failure = self.status.failure or f"could not publish everything within {STOP_S:.0f} s"
        return now > self._stop_by

    def _leave(self, reports: zmq.Socket[bytes]) -> None:
        in_peace = self.status.failure is None and not self.status.stopped
        self._signals.abort.set()
        deadline = time.monotonic() + (ENDED_FLUSH_MS / 1000 if in_peace else 0) + LEAVE_S
        for member in self.members.values():
            member.join(max(0.01, deadline - time.monotonic()))
        self._listen(reports, 0)
        if self._processes:
            for member in self.members.values():
                member.kill()
                member.join()
            if self._own_folder:
                shutil.rmtree(self._base, ignore_errors=True)


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Let processes be born deaf to Ctrl-C, which reaches the whole group: the supervisor decides what it means."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may change this; a service that runs lines in others has no Ctrl-C
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
