"""Work shared out among processes, as it is done."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
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
    with ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        # Ctrl-C reaches the whole terminal; this process ends the others.
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    ) as pool:
        pending = {pool.submit(do, *piece): number for number, piece in enumerate(work)}
        try:
            for finished in as_completed(pending):
                yield pending[finished], finished.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
