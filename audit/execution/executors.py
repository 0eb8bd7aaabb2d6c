"""Who does the jobs of an audit on this machine: this process itself, or several others.

Workers are started anew, not forked, and get the whole plan once. Each has a pipe: jobs go in, news come out. Whatever
ends a worker, its network is saved as far as its last checkpoint, and its job is begun again by another, from there.
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

from eventveil.audit.execution.scheduler import Ended, Job, Lost, Moved, News, perform
from eventveil.audit.workspace.workspace import AuditPlan, AuditWorkspace
from eventveil.errors import AuditError, EventVeilError
from eventveil.processes import blocked_signals, describe_exit, terminate_with_parent
from eventveil.training.distributed.process_group import ProcessGroup, join_group
from eventveil.training.engine.loop import Interrupted

TELL_EVERY_S = 0.5
MOMENT_S = 0.5
GRACE_S = 120.0  # for a worker to finish its step and save


class Steps:
    """A reporter that tells how much of a job's training is done, now and then.

    Args:
        tell: called with the name of the job and the share, from 0 to 1.

    Attributes:
        name: of the job.
    """

    def __init__(self, tell: Callable[[str, float], object] = lambda _name, _share: None) -> None:
        self.name = ""
        self._tell = tell
        self._steps = self._done = 0
        self._told_s = 0.0

    def begin(self, _stage: str, steps: int, done: int) -> None:
        """Tell where a training begins."""
        self._steps, self._done = steps, done
        self._tell(self.name, done / steps)

    def step(self, _values: dict[str, float], _windows: int) -> None:
        """Tell of a step, if it is time."""
        self._done += 1
        if time.monotonic() - self._told_s >= TELL_EVERY_S:
            self._told_s = time.monotonic()
            self._tell(self.name, self._done / self._steps)

    def epoch(self, row: dict[str, float], epochs: int) -> None:
        """Tell nothing: the step before did."""


class InProcessExecutor:
    """Does jobs in this process, one after the other.

    Args:
        plan: of the audit.
        moved: called with the name of a job and its share, while it is done.
    """

    slots = 1

    def __init__(self, plan: AuditPlan, moved: Callable[[str, float], object]) -> None:
        self._job: Job | None = None
        self._reporter = Steps(moved)
        self._bench = AuditWorkspace(plan, join_group(plan.settings.run.device), self._reporter)
        self.machine = f"{self._bench.world.device.type}, {torch.get_num_threads()} threads"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def begin(self, job: Job) -> None:
        """Note the job; it is done when news are asked for."""
        self._job = job
        self._reporter.name = job.name

    def poll(self) -> Sequence[News]:
        """Do the job that was begun."""
        assert self._job is not None
        perform(self._job, self._bench)
        return [Ended(self._job.name)]


@dataclass(frozen=True)
class Failed:
    """A worker's job cannot be done; `ours` tells our own errors, which need no traceback."""

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
        plan: of the audit; its windows are made already, and every process maps the same files.
        slots: how many processes.
    """

    def __init__(self, plan: AuditPlan, slots: int) -> None:
        self.slots = slots
        self._packed = packed(plan)
        self._workers: list[_Worker | None] = [None] * slots
        self._threads = max(1, torch.get_num_threads() // slots)
        device = "cuda" if on_cuda(plan.settings.run.device) else "cpu"
        self.machine = f"{device}, {slots} processes of {self._threads} threads"
        self._previous: signal.Handlers | int | Callable[[int, FrameType | None], object] | None = None

    def __enter__(self) -> Self:
        # Whoever ends this process politely gets what Ctrl-C gets: everything is saved.
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
        finally:  # whoever presses Ctrl-C twice does not want to wait
            for worker in workers:
                worker.process.kill()
                worker.process.join()
            signal.signal(signal.SIGTERM, self._previous)

    def begin(self, job: Job) -> None:
        """Give a job to a worker that has none; start one if need be."""
        number = next(k for k, worker in enumerate(self._workers) if worker is None or worker.job is None)
        worker = self._workers[number] or self._started(number)
        worker.job = job
        self._workers[number] = worker
        with suppress(OSError):  # it is gone, as the news will tell
            worker.pipe.send(job)

    def poll(self) -> Sequence[News]:
        """Wait a moment for what workers tell, or for one to be gone."""
        workers = {worker.process.sentinel: worker for worker in self._workers if worker is not None}
        ready = wait([*workers, *(worker.pipe for worker in workers.values())], MOMENT_S)
        heard: list[News] = []
        for worker in workers.values():
            if worker.pipe in ready or worker.process.sentinel in ready:
                heard += self._heard(worker)
            if worker.process.sentinel in ready:
                heard += self._buried(worker)
        return heard

    def _heard(self, worker: _Worker) -> list[News]:
        heard: list[News] = []
        with suppress(EOFError, OSError):
            while worker.pipe.poll():
                told: News | Failed = worker.pipe.recv()
                if isinstance(told, Failed):
                    raise raised(told)
                if isinstance(told, Ended):
                    worker.job = None
                heard.append(told)
        return heard

    def _buried(self, worker: _Worker) -> list[News]:
        self._workers[self._workers.index(worker)] = None
        worker.pipe.close()
        worker.process.join()
        return [] if worker.job is None else [Lost(worker.job.name, _why(worker.process.exitcode))]

    def _started(self, number: int) -> _Worker:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(self._packed, number, self._threads, there), daemon=False)
        # Ctrl-C reaches all processes of a terminal, and this one before it can say that it listens to us alone. The
        # tracker is started first, for starting it would undo the mask.
        resource_tracker.ensure_running()
        with blocked_signals(signal.SIGINT):
            process.start()
        there.close()  # so that the end of the worker is the end of the pipe
        return _Worker(process, here)


def packed(plan: AuditPlan) -> bytes:
    """A plan as bytes, with its networks in main memory and not shared by file descriptors, which end with us."""
    for subject in plan.subjects:
        if isinstance(subject.anonymizer, torch.nn.Module):
            subject.anonymizer.to("cpu")
    return pickle.dumps(plan)


def on_cuda(device: str) -> bool:
    """Whether a setting of the device means CUDA here."""
    return device == "cuda" or (device == "auto" and torch.cuda.is_available())


def place(device: str, number: int) -> ProcessGroup:
    """The device of a worker: several share the CUDA devices of a machine in turn."""
    if not on_cuda(device):
        return ProcessGroup()
    own = torch.device("cuda", number % max(1, torch.cuda.device_count()))
    torch.cuda.set_device(own)
    return ProcessGroup(device=own)


def _why(exitcode: int | None) -> str:
    if exitcode == 0:
        return "its process was asked to stop"
    if exitcode is None:
        return "its process ended"
    return f"its process {'was' if exitcode < 0 else 'ended with'} {describe_exit(exitcode)}"


def _work(held: bytes, number: int, threads: int, pipe: Connection) -> None:
    """What a worker does, until no job comes any more."""
    signal.signal(signal.SIGTERM, _interrupted)
    terminate_with_parent()
    torch.set_num_threads(threads)
    reporter = Steps(lambda name, share: _send(pipe, Moved(name, share)))

    @cache
    def bench() -> AuditWorkspace:
        plan: AuditPlan = pickle.loads(held)
        return AuditWorkspace(plan, place(plan.settings.run.device, number), reporter)

    # EOFError: who gives jobs is gone. Interrupted: somebody asked to stop, and everything is saved.
    with suppress(EOFError, Interrupted):
        while True:
            job: Job = pipe.recv()
            reporter.name = job.name
            _send(pipe, attempt(job, bench))


def attempt(job: Job, bench: Callable[[], AuditWorkspace]) -> Ended | Failed:
    """Do a job in a process of which only bytes come back.

    Raises:
        Interrupted: somebody asked to stop; everything is saved.
    """
    try:
        perform(job, bench())
    except Interrupted:
        raise
    except EventVeilError as error:
        return Failed(f"{job.title}: {error}", ours=True)
    except Exception:  # a defect of ours: it is told by the process that has the terminal
        return Failed(f"{job.title}:\n{traceback.format_exc()}", ours=False)
    return Ended(job.name)


def raised(failed: Failed) -> Exception:
    """What came back, as the error that it was."""
    return AuditError(failed.text) if failed.ours else RuntimeError(failed.text)


def _send(pipe: Connection, news: News | Failed) -> None:
    with suppress(OSError):  # who listened is gone, and we shall be asked to stop
        pipe.send(news)


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    raise Interrupted
