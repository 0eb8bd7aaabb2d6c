"""Executors on this machine: this process itself, or several worker processes.

Workers are spawned, not forked, and get the whole plan once. Each has a pipe: jobs go in, events come out. However a
worker ends, its network is saved up to its last checkpoint, and another worker begins its job again from there.
"""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType, TracebackType
from typing import Self

import torch

from eventveil.audit.execution.scheduler import Ended, Job, JobEvent, Lost, Moved, perform
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace
from eventveil.errors import AuditError, EventVeilError
from eventveil.host.processes import (
    blocked_signals,
    describe_end,
    environment,
    forbid_core_dumps,
    safe_import_path,
    terminate_with_parent,
)
from eventveil.training.distributed.process_group import ProcessGroup, join_group
from eventveil.training.engine.loop import Interrupted

REPORT_EVERY_S = 0.5
POLL_S = 0.5
GRACE_S = 120.0  # for a worker to finish its step and save
THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")  # of linear algebra, read when it is loaded


class Steps:
    """Reports, now and then, how much of a job's training is done.

    Args:
        report: called with the name of the job and the share, from 0 to 1.

    Attributes:
        name: name of the job.
    """

    def __init__(self, report: Callable[[str, float], object] = lambda _name, _share: None) -> None:
        self.name = ""
        self._report = report
        self._steps = self._done = 0
        self._last_report_s = 0.0

    def begin(self, _stage: str, steps: int, done: int) -> None:
        """Report where a training begins."""
        self._steps, self._done = steps, done
        self._report(self.name, done / steps)

    def step(self, _values: dict[str, float], _windows: int) -> None:
        """Report a step, if a report is due."""
        self._done += 1
        if time.monotonic() - self._last_report_s >= REPORT_EVERY_S:
            self._last_report_s = time.monotonic()
            self._report(self.name, self._done / self._steps)

    def epoch(self, row: dict[str, float], epochs: int) -> None:
        """Report nothing: the last step did."""


class InProcessExecutor:
    """Does jobs in this process, one at a time.

    Args:
        plan: plan of the audit.
        moved: called with the name of the job under way and the share that is done.
    """

    slots = 1

    def __init__(self, plan: AuditPlan, moved: Callable[[str, float], object]) -> None:
        self._job: Job | None = None
        self._reporter = Steps(moved)
        self._workspace = AuditWorkspace(plan, join_group(plan.settings.run.device), self._reporter)
        self.machine = f"{self._workspace.group.device.type}, {torch.get_num_threads()} threads"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def begin(self, job: Job) -> None:
        """Set the job; `poll` does it."""
        self._job = job
        self._reporter.name = job.name

    def poll(self) -> Sequence[JobEvent]:
        """Do the job."""
        assert self._job is not None
        perform(self._job, self._workspace)
        return [Ended(self._job.name)]


@dataclass(frozen=True)
class Failed:
    """A worker's job cannot be done. `ours` marks errors of eventveil's own types, which need no traceback."""

    text: str
    ours: bool


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    job: Job | None = None


class ProcessExecutor:
    """Does jobs in processes of this machine, which share its cores.

    Args:
        plan: plan of the audit; its windows are prepared, and every process maps the same files.
        slots: the number of processes.
    """

    def __init__(self, plan: AuditPlan, slots: int) -> None:
        self.slots = slots
        self._packed = pack(plan)
        self._workers: list[_Worker | None] = [None] * slots
        self._threads = max(1, torch.get_num_threads() // slots)
        device = "cuda" if on_cuda(plan.settings.run.device) else "cpu"
        self.machine = f"{device}, {slots} processes of {self._threads} threads"
        self._previous: signal.Handlers | int | Callable[[int, FrameType | None], object] | None = None

    def __enter__(self) -> Self:
        # SIGTERM does what Ctrl-C does: everything is saved.
        self._previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        workers = [worker for worker in self._workers if worker is not None]
        try:
            for worker in workers:
                worker.process.terminate()
                worker.pipe.close()
            deadline = time.monotonic() + GRACE_S
            for worker in workers:
                worker.process.join(max(0.0, deadline - time.monotonic()))
        finally:  # also at a second Ctrl-C, which must not wait
            for worker in workers:
                worker.process.kill()
                worker.process.join()
            signal.signal(signal.SIGTERM, self._previous)

    def begin(self, job: Job) -> None:
        """Give a job to an idle worker; start one if there is none."""
        number = next(k for k, worker in enumerate(self._workers) if worker is None or worker.job is None)
        worker = self._workers[number] or self._started(number)
        worker.job = job
        self._workers[number] = worker
        with suppress(OSError):  # the worker is gone; `poll` will report it
            worker.pipe.send(job)

    def poll(self) -> Sequence[JobEvent]:
        """Wait briefly for events from workers, or for the end of one."""
        workers = {worker.process.sentinel: worker for worker in self._workers if worker is not None}
        ready = wait([*workers, *(worker.pipe for worker in workers.values())], POLL_S)
        events: list[JobEvent] = []
        for worker in workers.values():
            if worker.pipe in ready or worker.process.sentinel in ready:
                events += self._receive(worker)
            if worker.process.sentinel in ready:
                events += self._reap(worker)
        return events

    def _receive(self, worker: _Worker) -> list[JobEvent]:
        events: list[JobEvent] = []
        with suppress(EOFError, OSError):
            while worker.pipe.poll():
                message: JobEvent | Failed = worker.pipe.recv()
                if isinstance(message, Failed):
                    raise to_exception(message)
                if isinstance(message, Ended):
                    worker.job = None
                events.append(message)
        return events

    def _reap(self, worker: _Worker) -> list[JobEvent]:
        self._workers[self._workers.index(worker)] = None
        worker.pipe.close()
        worker.process.join()
        return [] if worker.job is None else [Lost(worker.job.name, _why(worker.process.exitcode))]

    def _started(self, number: int) -> _Worker:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(self._packed, number, self._threads, there), daemon=False)
        # Ctrl-C reaches all processes of a terminal, and might reach this one before it can block the signal itself.
        # The tracker is started first, because starting it would undo the mask.
        # NumPy's linear algebra has threads of its own, as many as there are cores, in each worker.
        with safe_import_path(), environment(**dict.fromkeys(THREADS, str(self._threads))):
            resource_tracker.ensure_running()
            with blocked_signals(signal.SIGINT):
                process.start()
        there.close()  # so that the pipe closes when the worker ends
        return _Worker(process, here)


def pack(plan: AuditPlan) -> bytes:
    """Pickle a plan, with its networks in main memory not shared by file descriptors, which close with this process."""
    for subject in plan.subjects:
        if isinstance(subject.anonymizer, torch.nn.Module):
            subject.anonymizer.to("cpu")
        if subject.classifier is not None:
            subject.classifier.network.to("cpu")
    return pickle.dumps(plan)


def on_cuda(device: str) -> bool:
    """Return whether a setting of the device means CUDA on this machine."""
    return device == "cuda" or (device == "auto" and torch.cuda.is_available())


def worker_group(device: str, number: int) -> ProcessGroup:
    """Return the group of one worker, with its device: workers take the CUDA devices of a machine in turn."""
    if not on_cuda(device):
        return ProcessGroup()
    cuda = torch.device("cuda", number % max(1, torch.cuda.device_count()))
    torch.cuda.set_device(cuda)
    return ProcessGroup(device=cuda)


def _why(exitcode: int | None) -> str:
    if exitcode == 0:
        return "its process was asked to stop"
    return "its process ended" if exitcode is None else describe_end("its process", exitcode)


def _work(packed: bytes, number: int, threads: int, pipe: Connection) -> None:
    """Do jobs in a worker process until the pipe closes."""
    signal.signal(signal.SIGTERM, _interrupted)
    terminate_with_parent()
    forbid_core_dumps()
    torch.set_num_threads(threads)
    reporter = Steps(lambda name, share: _send(pipe, Moved(name, share)))

    @cache
    def workspace() -> AuditWorkspace:
        plan: AuditPlan = pickle.loads(packed)
        return AuditWorkspace(plan, worker_group(plan.settings.run.device, number), reporter)

    # EOFError: the parent is gone. Interrupted: the audit was asked to stop, and everything is saved.
    with suppress(EOFError, Interrupted):
        while True:
            job: Job = pipe.recv()
            reporter.name = job.name
            _send(pipe, attempt(job, workspace))


def attempt(job: Job, workspace: Callable[[], AuditWorkspace]) -> Ended | Failed:
    """Do a job outside the scheduler's process, and return an error as a value that can be pickled.

    Raises:
        Interrupted: the audit was asked to stop; everything is saved.
    """
    try:
        perform(job, workspace())
    except Interrupted:
        raise
    except EventVeilError as error:
        return Failed(f"{job.title}: {error}", ours=True)
    except Exception:  # a bug: the process with the terminal reports it
        return Failed(f"{job.title}:\n{traceback.format_exc()}", ours=False)
    return Ended(job.name)


def to_exception(failed: Failed) -> Exception:
    """Return the exception for an error of a worker."""
    return AuditError(failed.text) if failed.ours else RuntimeError(failed.text)


def _send(pipe: Connection, message: JobEvent | Failed) -> None:
    with suppress(OSError):  # the parent is gone, and `terminate_with_parent` will stop this process
        pipe.send(message)


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    raise Interrupted
