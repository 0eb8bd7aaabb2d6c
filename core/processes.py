"""Child processes: how they are started, which signals they inherit, and how their end is described."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait

PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4  # linux/prctl.h


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of this package with this interpreter.

    The option `-P` keeps the working directory off the import path: a file named `zmq.py` there is never imported.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def describe_exit(status: int) -> str:
    """Describe how a process ended, as in "killed by SIGKILL" or "exit status 3".

    Args:
        status: `returncode` of `subprocess` or `exitcode` of `multiprocessing`: negative for a signal.
    """
    if status >= 0:
        return f"exit status {status}"
    name = next((known.name for known in signal.Signals if known == -status), f"signal {-status}")
    return f"killed by {name}"


def describe_end(process: str, status: int) -> str:
    """Say how a process ended, as in "the stage was killed by SIGKILL" or "the stage ended with exit status 3"."""
    return f"{process} {'was' if status < 0 else 'ended with'} {describe_exit(status)}"


@contextmanager
def safe_import_path() -> Iterator[None]:
    """Keep the working directory off the import path of interpreters that start inside the block.

    For children that `multiprocessing` starts with a command of its own, which has no `-P`.
    """
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


@contextmanager
def blocked_signals(*signals: signal.Signals) -> Iterator[None]:
    """Block signals in this thread. Processes and threads that start inside the block inherit the mask.

    Ctrl-C reaches every process of a terminal. Workers that inherit this mask leave the decision to their parent.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def ignored_signals(*signals: signal.Signals) -> Iterator[None]:
    """Ignore signals while a child process starts: it inherits this, across `exec` too.

    Keep the block short: a signal that arrives meanwhile is lost. Outside the main thread, which alone may change
    handlers, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def forbid_core_dumps() -> None:
    """Keep raw events in this process's memory off the disk: no core dump, and no debugger of the same user.

    The limit also holds for its children. Linux forgets the rest when a child starts another program, so each process
    calls this itself.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(PR_SET_DUMPABLE, 0)  # a limit of 0 does not stop a program to which the kernel pipes core dumps


def die_with_parent() -> None:
    """Have Linux kill this process, halted or not, as soon as the thread that started it has ended.

    Call it first of all: a parent that has ended before is not noticed. Other systems than Linux have no such means.
    """
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option}, {value}) failed")


def terminate_with_parent() -> None:
    """Send SIGTERM to this `multiprocessing` child as soon as its parent has ended, however it ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
