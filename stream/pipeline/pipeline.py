"""The pipeline: its stages, how they are connected, and the supervisor that starts, monitors and ends them.

    histogram (one per source) --> anonymize --> classify --> publish

The receiving end of each edge binds, so several sources fan into one anonymizer. Without a classifier its stage is
left out. No part waits forever: a stage that raises ends the pipeline; one whose process dies, hangs or crashes is
restarted a few times (`eventveil.stream.pipeline.supervisor`) before it ends the pipeline; a stopped pipeline drains
until no window comes through for `STOP_S`; and stages whose supervisor is gone exit by themselves.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
import time
import uuid
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import zmq

from eventveil.errors import LineError
from eventveil.host.processes import raise_descriptor_limit, return_free_memory
from eventveil.stream.pipeline.fork_server import CAMERAS, ForkServer, Kind, StageProcess
from eventveil.stream.pipeline.network_stages import run_anonymize, run_classify
from eventveil.stream.pipeline.status import Status
from eventveil.stream.pipeline.supervisor import START_S, StageSupervisor
from eventveil.stream.pipeline.worker import (
    NETWORKS,
    REPORTS,
    StageAddress,
    run_histogram,
    run_publish,
    serve,
)
from eventveil.stream.planning.planner import plan
from eventveil.stream.publisher.expelled import FILE as EXPELLED
from eventveil.stream.publisher.expelled import forget_expelled
from eventveil.stream.publisher.listener import Listener, listening
from eventveil.stream.publisher.loop import ENDED_FLUSH_MS
from eventveil.stream.runtime.accounting import CRASH, FILE, SOURCE, PipelineCounters
from eventveil.stream.runtime.accuracy import NOTES, LiveAccuracy
from eventveil.stream.runtime.balance import balance
from eventveil.stream.runtime.reporting import StageReport
from eventveil.stream.runtime.signals import Signals
from eventveil.stream.runtime.sockets import PrivateSockets, lock_folder, runtime_folder
from eventveil.stream.runtime.windows import Seal
from eventveil.stream.settings.pipeline import PipelineSettings
from eventveil.stream.stages.resume import can_be_reread

STOP_S = 2.0  # to publish one more of the windows in flight after a stop
LEAVE_S = 0.5  # to exit after that
HALTED_S = 0.4  # after a longer gap between two checks of the stages, their heartbeats prove nothing


class Pipeline:
    """A pipeline that can be run once.

    Args:
        settings: what to run. Weights are loaded and checked here, before anything starts.

    Raises:
        ConfigError, WeightsError: see `eventveil.stream.planning.planner.plan`; or this process may open too few files.
        ConfigError: another pipeline uses the runtime folder.
        BoundaryError: other users may enter the runtime folder.
    """

    def __init__(self, settings: PipelineSettings) -> None:
        raise_descriptor_limit()
        line = settings.line
        self._processes = line.run_as == "processes"
        # First, because they import for seconds, torch longest, while this process plans.
        self._fork_servers = _fork_servers(settings) if self._processes else {}
        self.plan = plan(_with_seeds(settings))
        return_free_memory()  # of the weights and the book, which the stages read again
        judged = self.plan.judged
        self._base: str | Path = runtime_folder(line.runtime_dir) if self._processes else uuid.uuid4().hex
        self._own_folder = self._processes and line.runtime_dir is None
        self._unlock: Callable[[], object] = lambda: None
        if isinstance(self._base, Path):
            self._unlock = weakref.finalize(self, os.close, lock_folder(self._base))
            forget_expelled(self._base / EXPELLED)
        jobs = self._plan_jobs()
        file = self._base / FILE if isinstance(self._base, Path) else None
        counters = PipelineCounters(tuple(jobs), [source.stream for source in settings.sources], file)
        self._signals = Signals.of(counters)
        score = LiveAccuracy(self.plan.provenance.labels, judged) if judged else None
        self.status = Status(counters=counters, score=score, trained=self.plan.window.density)
        self._reread = {f"{SOURCE}{source.stream}" for source in settings.sources if can_be_reread(source)}
        self._jobs = jobs
        self.members: dict[str, Any] = {}  # the thread or process of each stage
        self._supervisors: dict[str, StageSupervisor] = {}
        self._stopping = False
        self._drain: tuple[int, float] | None = None  # after a stop: how many have left, and until when another must

    def _plan_jobs(self) -> dict[str, tuple[Any, ...]]:
        """Return the function of each stage with its arguments, in order from source to publisher."""
        key = Seal.new_key()
        sources = enumerate(self.plan.settings.sources)
        jobs: dict[str, tuple[Any, ...]] = {f"{SOURCE}{source.stream}": (run_histogram, n) for n, source in sources}
        jobs["anonymize"] = (run_anonymize, key)
        if self.plan.provenance.classifier is not None:
            jobs["classify"] = (run_classify,)
        return jobs | {"publish": (run_publish, key)}

    def stop(self) -> None:
        """End the streams, publish the windows in flight, and exit; when called again, exit immediately."""
        if self._stopping:
            self._signals.abort.set()
        if self._stopping or not self._signals.go.is_set():
            for server in self._fork_servers.values():
                server.interrupt()  # it may have to import torch first, or be halted
        self._stopping = True
        self._signals.stop.set()

    def run(self, on_beat: Callable[[Status], None] = lambda _: None) -> Status:
        """Run until all streams have ended, a stage fails, or `stop` is called.

        Args:
            on_beat: called about once a second with the status so far.

        Returns:
            The status at the end; `failure` is None if all went well.

        Raises:
            LineError: `publish.bind` is in use or not an address of this machine. Nothing has started.
        """
        publish = self.plan.settings.publish
        try:
            with (
                listening(publish.bind, keyed=publish.keys is not None) as listener,
                zmq.Context() as context,
                PrivateSockets(self._base, context).pull(REPORTS, hwm=1000) as reports,
            ):
                try:
                    if self._start(context, listener):
                        self._supervise(reports, on_beat)
                finally:
                    self._leave(reports)
        finally:
            if self._own_folder:
                shutil.rmtree(self._base, ignore_errors=True)
            self._unlock()
        lost = self.status.counters.dropped().get(CRASH, 0)
        if lost and self.plan.settings.line.delivery == "lossless" and self.status.failure is None:
            self.status.failure = f"{lost} windows were lost with a stage that died, although delivery is lossless"
        return self.status

    def _start(self, context: zmq.Context[zmq.Socket[bytes]], listener: Listener) -> bool:
        """Start all stages; return False if the pipeline was stopped meanwhile, or one could not be started."""
        line = self.plan.settings.line
        self._jobs["publish"] += (listener,)  # each of its processes receives a copy
        restarts, hang_s = (line.restarts, line.hang_s) if self._processes else (0, None)
        for name, job in reversed(self._jobs.items()):  # receivers before senders
            address = StageAddress(name, self._base, self.status.counters)
            make = partial(self._member, name, (address, self.plan, *job), context)
            supervisor = StageSupervisor(self.status.counters[name], make, restarts=restarts, hang_s=hang_s)
            self._supervisors[name] = supervisor
            try:
                supervisor.start()
            except LineError as error:
                if not self._stopping:
                    self._abort(f"{name}: {error}")
            if self._stopping or supervisor.member is None:
                self.status.stopped = self.status.failure is None
                return False
            self.members[name] = supervisor.member
        return True

    def _member(self, name: str, args: tuple[Any, ...], context: zmq.Context[zmq.Socket[bytes]], limit_s: float) -> Any:
        """Create the thread or process of a stage."""
        title = f"eventveil {name}"
        if not self._processes:
            return threading.Thread(target=serve, args=args, kwargs={"context": context}, name=title, daemon=True)
        server = self._fork_servers["networks" if name in NETWORKS else "stages"]
        kwargs = {"parent": server.pid}
        return StageProcess(server, target=serve, args=args, kwargs=kwargs, name=title, limit_s=limit_s)

    def _supervise(self, reports: zmq.Socket[bytes], on_beat: Callable[[Status], None]) -> None:
        next_beat = began = checked = time.monotonic()
        while True:
            self._wait(reports)
            self._receive(reports, 0)
            now = time.monotonic()
            if now - checked > HALTED_S:  # this process was halted, and perhaps all stages with it
                for supervisor in self._supervisors.values():
                    supervisor.counters.pulse()
            checked = now
            ready = all(supervisor.ready for supervisor in self._supervisors.values())
            if not self._signals.go.is_set() and ready:
                self._signals.go.set()
                next_beat, began = now + 1.0, now
            if self._signals.go.is_set() and now >= next_beat:
                next_beat += 1.0
                self.status.seconds = now - began
                on_beat(self.status)
            self._check_stages(reports)
            self.status.seconds = now - began
            if self._finished(now):
                return

    def _wait(self, reports: zmq.Socket[bytes]) -> None:
        """Wait until there is a report, a process has ended, or time has passed."""
        poller = zmq.Poller()
        poller.register(reports, zmq.POLLIN)
        if self._processes:
            handles = [*self._fork_servers.values(), *self.members.values()]
            for descriptor in (handle.fileno() for handle in handles):
                if descriptor is not None:
                    poller.register(descriptor, zmq.POLLIN)
        poller.poll(50)

    def _receive(self, reports: zmq.Socket[bytes], milliseconds: int) -> None:
        while reports.poll(milliseconds):
            milliseconds = 0
            frame, notes = reports.recv_multipart()
            report = StageReport.model_validate_json(frame)
            if self.status.score is not None:
                self.status.score.take(NOTES.validate_json(notes))
            supervisor = self._supervisors[report.stage]
            if report.life != supervisor.counters.life:
                continue  # the last report of a process that has been replaced
            self.status.take(report, reread=report.stage in self._reread)
            if report.kind == "failed":
                self._fail(report.stage, report.reason)
            elif report.kind == "crashed":
                self._restart(report.stage, report.reason)
            elif not supervisor.ready:
                supervisor.mark_ready()

    def _fail(self, stage: str, reason: str) -> None:
        self.status.failure = self.status.failure or f"{stage}: {reason}"
        # A source that fails has sent all that it had read, and that is still published. The failure of any other stage
        # ends the pipeline immediately.
        (self._signals.stop if stage.startswith(SOURCE) else self._signals.abort).set()

    def _abort(self, reason: str) -> None:
        """End the pipeline immediately; its failure is the first reason given."""
        self.status.failure = self.status.failure or reason
        self._signals.abort.set()

    def _check_stages(self, reports: zmq.Socket[bytes]) -> None:
        for server in self._fork_servers.values():
            failure = server.failure()
            if failure is not None:
                self._abort(failure)
        for name, supervisor in self._supervisors.items():
            failure = supervisor.failure()
            if failure is None or self._signals.abort.is_set():
                continue
            self._receive(reports, 200)  # its last report may still be in flight
            if self._last_report(name) != "failed" and supervisor.failure() is not None:
                self._restart(name, failure)

    def _restart(self, name: str, reason: str) -> None:
        """Restart a stage, or end the pipeline with the reason."""
        if self._signals.abort.is_set():
            return
        supervisor = self._supervisors[name]
        stopping, restarts = self._signals.stop.is_set(), self.plan.settings.line.restarts
        if stopping or not supervisor.may_restart():
            never = stopping or not self._processes or not restarts
            limit = "" if never else f"; it had already been restarted {restarts} times within a minute"
            self._abort(f"{name}: {reason}{limit}")
            return
        try:
            self.status.note(supervisor.restart(reason, self.status.seconds))
        except LineError as error:
            self._abort(f"{name}: {reason}; then {error}")
        else:
            self.members[name] = supervisor.member

    def _last_report(self, name: str) -> str | None:
        """Return the kind of the last report from a stage's present life."""
        report = self.status.stages.get(name)
        return report.kind if report is not None and report.life == self.status.counters[name].life else None

    def _ended(self, name: str) -> bool:
        return self._last_report(name) in ("ended", "failed")

    def _finished(self, now: float) -> bool:
        if self._signals.abort.is_set() or all(map(self._ended, self._supervisors)):
            return True
        if not self._stopping:
            return False
        self.status.stopped = self.status.failure is None
        if not self._signals.go.is_set():
            return True  # nothing has been read yet
        return self._drain_stalled(now)

    def _drain_stalled(self, now: float) -> bool:
        """Return whether a stopped pipeline publishes nothing more. On a slow machine, all windows may take long."""
        books = balance(self.status.counters)
        entered = sum(figures["received"] for name, figures in books["stages"].items() if name.startswith(SOURCE))
        in_flight = books["in_flight"]
        left = entered - in_flight  # those in flight may grow in number, because sources still report what they sent
        if self._drain is None or left > self._drain[0]:
            self._drain = left, now + STOP_S
        stalled = now > self._drain[1]
        if stalled:
            reason = f"could not publish everything: no window came through for {STOP_S:.0f} s, {in_flight} in flight"
            self.status.failure = self.status.failure or reason
        return stalled

    def _leave(self, reports: zmq.Socket[bytes]) -> None:
        ended = self.status.failure is None and not self.status.stopped
        self._signals.abort.set()
        # Threads cannot be killed, and one that is loading weights still has to close its sockets.
        leave_s = LEAVE_S if self._processes else START_S
        deadline = time.monotonic() + (ENDED_FLUSH_MS / 1000 if ended else 0) + leave_s
        for supervisor in self._supervisors.values():
            if supervisor.member is not None:
                supervisor.member.join(max(0.01, deadline - time.monotonic()))
        self._receive(reports, 0)
        if self._processes:
            for supervisor in self._supervisors.values():
                supervisor.end()
            for server in self._fork_servers.values():
                server.close()


def _fork_servers(settings: PipelineSettings) -> dict[Kind, ForkServer]:
    cameras = CAMERAS if any(source.where.is_camera for source in settings.sources) else ()
    return {"networks": ForkServer("networks"), "stages": ForkServer("stages", cameras)}


def _with_seeds(settings: PipelineSettings) -> PipelineSettings:
    """Draw the seeds of shuffled trials now, so that a restarted source continues in the same order."""
    sources = [
        source.model_copy(update={"seed": secrets.randbits(32)}) if source.shuffle and source.seed is None else source
        for source in settings.sources
    ]
    return settings.model_copy(update={"sources": tuple(sources)})
