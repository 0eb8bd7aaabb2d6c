"""The line: which stages there are, how they are wired, and the supervisor that starts, watches and ends them.

    histogram (one per source) --> anonymize --> classify --> publish

The receiving side of each edge binds, so several sources fan into one anonymizer. Without a classifier its stage is
left out. Nobody waits for ever: a stage that raises ends the line; one whose process dies, hangs or crashes is started
anew a few times (`eventveil.stream.pipeline.supervisor`) before it does; a stopped line has `STOP_S` to drain, and
stages whose supervisor is gone leave by themselves.
"""

from __future__ import annotations

import secrets
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import zmq

from eventveil.stream.pipeline.status import Status
from eventveil.stream.pipeline.supervisor import START_S, StageSupervisor, processes
from eventveil.stream.pipeline.worker import (
    ENDED_FLUSH_MS,
    REPORTS,
    StageAddress,
    run_anonymize,
    run_classify,
    run_histogram,
    run_publish,
    serve,
)
from eventveil.stream.planning import plan
from eventveil.stream.runtime.accounting import CRASH, FILE, SOURCE, PipelineCounters
from eventveil.stream.runtime.accuracy import NOTES, LiveAccuracy
from eventveil.stream.runtime.reporting import StageReport
from eventveil.stream.runtime.signals import Signals
from eventveil.stream.runtime.sockets import PrivateSockets, runtime_folder
from eventveil.stream.runtime.windows import Seal
from eventveil.stream.settings import PipelineSettings

STOP_S = 2.0  # to publish what is on its way once a stop was asked for
LEAVE_S = 0.5  # to leave after that
HALTED_S = 0.4  # without a look at the stages, and what they did meanwhile is not known


class Pipeline:
    """A line that can be run once.

    Args:
        settings: what to run; weights are loaded and checked here, before anything starts.

    Raises:
        ConfigError, WeightsError: see `eventveil.stream.planning.plan`.
        BoundaryError: the runtime folder is open to others.
    """

    def __init__(self, settings: PipelineSettings) -> None:
        self.plan = plan(_with_an_order(settings))
        line, judged = settings.line, self.plan.judged
        self._processes = line.run_as == "processes"
        self._member: Any = processes().Process if self._processes else threading.Thread
        self._base: str | Path = runtime_folder(line.runtime_dir) if self._processes else uuid.uuid4().hex
        self._own_folder = self._processes and line.runtime_dir is None
        jobs = self._jobs()
        file = self._base / FILE if isinstance(self._base, Path) else None
        books = PipelineCounters(tuple(jobs), [source.stream for source in settings.sources], file)
        self._signals = Signals.of(books)
        score = LiveAccuracy(self.plan.provenance.labels, judged) if judged else None
        self.status = Status(books=books, score=score, trained=self.plan.window.density)
        self._jobs_of = jobs
        self.members: dict[str, Any] = {}  # the thread or process of each stage
        self._keepers: dict[str, StageSupervisor] = {}
        self._asked_to_stop = False
        self._stop_by: float | None = None

    def _jobs(self) -> dict[str, tuple[Any, ...]]:
        """What each stage does, down the line."""
        key = Seal.new_key()
        sources = enumerate(self.plan.settings.sources)
        jobs: dict[str, tuple[Any, ...]] = {f"{SOURCE}{source.stream}": (run_histogram, n) for n, source in sources}
        jobs["anonymize"] = (run_anonymize, key)
        if self.plan.provenance.classifier is not None:
            jobs["classify"] = (run_classify,)
        return jobs | {"publish": (run_publish, key)}

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
                self._start(context)
                self._supervise(reports, on_beat)
            finally:
                self._leave(reports)
        lost = self.status.books.dropped().get(CRASH, 0)
        if lost and self.plan.settings.line.delivery == "lossless" and self.status.failure is None:
            self.status.failure = (
                f"{lost} windows were lost with a stage that died: lossless delivery promised them all"
            )
        return self.status

    def _start(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        line = self.plan.settings.line
        shared = {} if self._processes else {"context": context}
        for name, job in reversed(self._jobs_of.items()):  # who is sent to before who sends
            post = StageAddress(name, self._base, self.status.books)
            make = partial(
                self._member,
                target=serve,
                args=(post, self.plan, *job),
                kwargs=shared,
                name=f"eventveil {name}",
                daemon=True,
            )
            restarts, hang_s = (line.restarts, line.hang_s) if self._processes else (0, None)
            self._keepers[name] = StageSupervisor(self.status.books[name], make, restarts=restarts, hang_s=hang_s)
            self._keepers[name].start()
            self.members[name] = self._keepers[name].member

    def _supervise(self, reports: zmq.Socket[bytes], on_beat: Callable[[Status], None]) -> None:
        next_beat = began = looked = time.monotonic()
        while True:
            self._listen(reports, 50)
            now = time.monotonic()
            if now - looked > HALTED_S:  # we were halted ourselves, and everybody with us perhaps
                for keeper in self._keepers.values():
                    keeper.page.pulse()
            looked = now
            ready = all(keeper.ready for keeper in self._keepers.values())
            if not self._signals.go.is_set() and ready:
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
            report = StageReport.model_validate_json(words)
            if self.status.score is not None:
                self.status.score.take(NOTES.validate_json(notes))
            keeper = self._keepers[report.stage]
            if report.life != keeper.page.life:
                continue  # last words of one that has been replaced
            self.status.stages[report.stage] = report
            if report.kind == "failed":
                self._fail(report.stage, report.reason)
            elif report.kind == "crashed":
                self._revive(report.stage, report.reason)
            elif not keeper.ready:
                keeper.is_ready()

    def _fail(self, stage: str, reason: str) -> None:
        self.status.failure = self.status.failure or f"{stage}: {reason}"
        # A source that fails has sent on all that it had read: that is still published. Any other stage's failure
        # closes the line at once.
        (self._signals.stop if stage.startswith(SOURCE) else self._signals.abort).set()

    def _look_after(self, reports: zmq.Socket[bytes]) -> None:
        for name, keeper in self._keepers.items():
            failure = keeper.failure()
            if failure is None or self._signals.abort.is_set():
                continue
            self._listen(reports, 200)  # its last words may still be on their way
            if self._heard(name) != "failed" and keeper.failure() is not None:
                self._revive(name, failure)

    def _revive(self, name: str, reason: str) -> None:
        """Start a stage anew, or end the line with the reason."""
        keeper = self._keepers[name]
        stopping, restarts = self._signals.stop.is_set(), self.plan.settings.line.restarts
        if stopping or not keeper.may_restart():
            never = stopping or not self._processes or not restarts
            often = "" if never else f"; it had been started anew {restarts} times in a minute"
            self.status.failure = self.status.failure or f"{name}: {reason}{often}"
            self._signals.abort.set()
            return
        self.status.note(keeper.restart(reason, self.status.seconds))
        self.members[name] = keeper.member

    def _heard(self, name: str) -> str | None:
        """The kind of the last report of a stage's present life."""
        report = self.status.stages.get(name)
        return report.kind if report is not None and report.life == self.status.books[name].life else None

    def _ended(self, name: str) -> bool:
        return self._heard(name) in ("ended", "failed")

    def _finished(self, now: float) -> bool:
        if self._signals.abort.is_set() or all(map(self._ended, self._keepers)):
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
        # Threads cannot be killed, and one that reads its weights still has to close its sockets.
        leave_s = LEAVE_S if self._processes else START_S
        deadline = time.monotonic() + (ENDED_FLUSH_MS / 1000 if in_peace else 0) + leave_s
        for keeper in self._keepers.values():
            keeper.member.join(max(0.01, deadline - time.monotonic()))
        self._listen(reports, 0)
        if self._processes:
            for keeper in self._keepers.values():
                keeper.end()
            if self._own_folder:
                shutil.rmtree(self._base, ignore_errors=True)


def _with_an_order(settings: PipelineSettings) -> PipelineSettings:
    """Draw the orders of shuffled trials now: a source that is started anew plays on in the same one."""
    sources = [
        source.model_copy(update={"seed": secrets.randbits(32)}) if source.shuffle and source.seed is None else source
        for source in settings.sources
    ]
    return settings.model_copy(update={"sources": tuple(sources)})
