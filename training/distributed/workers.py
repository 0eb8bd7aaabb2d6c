"""Distributes tasks among processes and yields results as they finish."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from eventveil.errors import TrainingError
from eventveil.host.processes import forbid_core_dumps, safe_import_path, terminate_with_parent


def in_processes(
    do: Callable[..., Any], work: Sequence[tuple[Any, ...]], workers: int
) -> Generator[tuple[int, Any], None, None]:
    """Yield the number and the result of each task, in the order in which they finish.

    To stop early, close the generator (`contextlib.closing`); tasks that have not begun are then cancelled.

    Args:
        do: a function at module level, called with the arguments of each task.
        work: the arguments of each task.
        workers: number of processes.

    Raises:
        TrainingError: a process was killed.
    """
    # Spawned, not forked: this process may run threads of torch.
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)
    try:
        # Python raises Ctrl-C in the main thread, and a pool that it interrupts while it starts cannot be shut down, so
        # another thread starts it. Ctrl-C reaches the whole terminal; the processes inherit that thread's signal mask
        # and ignore it.
        blocked = (signal.SIG_BLOCK, {signal.SIGINT})
        with safe_import_path(), ThreadPoolExecutor(1, initializer=signal.pthread_sigmask, initargs=blocked) as starter:
            pending = starter.submit(
                lambda: {pool.submit(do, *arguments): number for number, arguments in enumerate(work)}
            ).result()
        for finished in as_completed(pending):
            yield pending[finished], finished.result()
    except BrokenProcessPool:
        raise TrainingError(
            "a process that made recordings or windows was killed, perhaps because memory or the disk is full: free "
            "some, and repeat the command with --resume; nothing that is complete is made again"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Prepare a worker: it holds raw windows, so it leaves no core dump, and it ends with its parent."""
    forbid_core_dumps()
    terminate_with_parent()
