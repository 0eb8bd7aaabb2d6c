"""Work shared out among processes, as it is done."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from typing import Any


def in_processes(
    do: Callable[..., Any], work: Sequence[tuple[Any, ...]], workers: int
) -> Generator[tuple[int, Any], None, None]:
    """Yield the number of each piece of work and what came of it, in the order in which they are done.

    Whoever stops early closes it (`contextlib.closing`); what has not begun is then dropped.

    Args:
        do: a function of a module, called with each piece's arguments.
        work: arguments of each piece.
        workers: processes.
    """
    # Started anew, not forked: this process may run threads of torch.
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        # Python raises Ctrl-C in the main thread, and a pool that it hits while it starts cannot be ended: so another
        # thread starts it. Ctrl-C reaches the whole terminal: processes inherit from that thread to hear nothing of it.
        deaf = (signal.SIG_BLOCK, {signal.SIGINT})
        with ThreadPoolExecutor(1, initializer=signal.pthread_sigmask, initargs=deaf) as starter:
            pending = starter.submit(
                lambda: {pool.submit(do, *piece): number for number, piece in enumerate(work)}
            ).result()
        for finished in as_completed(pending):
            yield pending[finished], finished.result()
    finally:
        pool.shutdown(cancel_futures=True)
