"""Anonymizes recordings in several processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import resource_tracker
from typing import Any

import torch

from eventveil.host.files import remove_parts
from eventveil.host.processes import blocked_signals, forbid_core_dumps, safe_import_path, terminate_with_parent
from eventveil.stream.batch.work import Task, TaskOutcome, Worker
from eventveil.stream.planning.plan import PipelinePlan

GRACE_S = 10.0  # for a worker to remove its partial file


class InProcesses:
    """Does tasks in spawned processes that share the cores.

    Args:
        jobs: the number of processes.
    """

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs

    def run(self, plan: PipelinePlan, form: str, tasks: Iterable[Task]) -> Generator[TaskOutcome, None, None]:
        """Do all tasks. Those under way when a process dies are begun again, one by one, to find the cause."""
        waiting = iter(tasks)
        setup = plan, form, max(1, torch.get_num_threads() // self._jobs)
        while lost := (yield from _until_broken(self._jobs, setup, waiting)):
            for task in lost:
                if (yield from _until_broken(1, setup, iter((task,)))):
                    name = task.recording.name
                    remove_parts(task.path)
                    yield TaskOutcome(name, error=f"{name}: its process was killed twice; is there enough memory?")


def _until_broken(
    jobs: int, setup: tuple[Any, ...], waiting: Iterator[Task]
) -> Generator[TaskOutcome, None, Iterable[Task]]:
    """Do tasks until none waits or a process dies; return those that were under way then."""
    others = multiprocessing.active_children()
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _prepare, setup)
    under_way: dict[Future[TaskOutcome], Task] = {}
    try:
        while True:
            while len(under_way) < jobs and (task := next(waiting, None)) is not None:
                under_way[_submitted(pool, task)] = task
            if not under_way:
                return ()
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                outcome = future.result()
                del under_way[future]
                yield outcome
    except BrokenProcessPool:
        return tuple(under_way.values())
    finally:
        pool.shutdown(wait=not under_way, cancel_futures=True)
        for child in multiprocessing.active_children() if under_way else ():
            if child not in others:
                child.terminate()
                child.join(GRACE_S)
                child.kill()


def _submitted(pool: ProcessPoolExecutor, task: Task) -> Future[TaskOutcome]:
    """Submit a task, and start processes in which Ctrl-C and the working directory have no effect."""
    with safe_import_path():
        resource_tracker.ensure_running()  # first, because starting it would undo the mask
        with blocked_signals(signal.SIGINT):
            try:
                return pool.submit(_do, task)
            except BrokenProcessPool as error:  # as if it had begun: so it is not lost
                future: Future[TaskOutcome] = Future()
                future.set_exception(error)
                return future


_busy = False
_setup: tuple[PipelinePlan, str]  # of this worker process


class _Terminated(BaseException):
    """This process is to end, without a partial file."""


def _prepare(plan: PipelinePlan, form: str, threads: int) -> None:
    global _setup
    _setup = plan, form
    signal.signal(signal.SIGTERM, _on_sigterm)
    terminate_with_parent()
    forbid_core_dumps()
    torch.set_num_threads(threads)


def _on_sigterm(*_: object) -> None:
    if _busy:
        raise _Terminated
    os._exit(1)


@cache
def _worker() -> Worker:
    return Worker(*_setup)


def _do(task: Task) -> TaskOutcome:
    global _busy
    try:
        _busy = True
        outcome = _worker().do(task)
        _busy = False
    except _Terminated:  # the partial file is removed, and the pool need not shut down in order
        os._exit(1)
    return outcome
