"""Child processes: how they are started, which signals they inherit, and how their end is described."""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from eventveil.errors import ConfigError

PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4  # linux/prctl.h
DESCRIPTORS = 1 << 16
MIN_DESCRIPTORS = 256


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
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables for the processes that start inside the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def safe_import_path() -> Iterator[None]:
    """Keep the working directory off the import path of interpreters that start inside the block.

    For children that `multiprocessing` starts with a command of its own, which has no `-P`.
    """
    with environment(PYTHONSAFEPATH="1"):
        yield


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
    with _handling(signal.SIG_IGN, signals):
        yield


@contextmanager
def default_signals(*signals: signal.Signals) -> Iterator[None]:
    """Let signals do what they do by default: Ctrl-C ends the process at once, without a traceback.

    Outside the main thread this does nothing.
    """
    with _handling(signal.SIG_DFL, signals):
        yield


@contextmanager
def _handling(handler: signal.Handlers, signals: tuple[signal.Signals, ...]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def forbid_core_dumps() -> None:
    """Keep raw events in this process's memory off the disk: no core dump, and no debugger of the same user.

    The limit also holds for its children. Linux forgets the rest when a child starts another program, so each process
    calls this itself.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(PR_SET_DUMPABLE, 0)  # a limit of 0 does not stop a program to which the kernel pipes core dumps


def raise_descriptor_limit() -> None:
    """Allow this process, and those that it starts, as many open files and sockets as possible, at most 65,536.

    A client that connects and stays silent holds one of the publisher's. With the usual limit of 1,024, none would soon
    be left for recordings and sockets.

    Raises:
        ConfigError: fewer than 256 are possible: libraries that run out of them end the whole process.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if limit < MIN_DESCRIPTORS:
        raise ConfigError(
            f"this process may open only {limit} files and sockets, and needs {MIN_DESCRIPTORS}; raise the limit, "
            "for example with LimitNOFILE= of systemd or `ulimit -Hn`"
        )
    if soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def readable(descriptor: int, seconds: float | None) -> bool:
    """Wait at most this long (None: without a limit) until a descriptor is readable; return whether it is."""
    poll = select.poll()  # `select.select` fails in programs with a thousand open files
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if seconds is None else 1000 * seconds))


class ProcessHandle:
    """Holds a process, which need not be a child of this one: its number is not reused unnoticed (Linux: a pidfd).

    Args:
        pid: its process ID.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._ended = False
        self._pidfd: int | None = None
        if sys.platform == "linux":
            try:
                self._pidfd = os.pidfd_open(pid)
            except ProcessLookupError:  # its number may soon be that of another one
                self._ended = True

    def fileno(self) -> int | None:
        """Return a descriptor that becomes readable when the process has ended; None if the system has none."""
        return self._pidfd

    def is_alive(self) -> bool:
        """Whether the process has not ended yet."""
        return not self.wait(0)

    def wait(self, seconds: float) -> bool:
        """Wait at most this long for the end of the process; return whether it has ended."""
        if not self._ended and self._pidfd is not None:
            self._ended = readable(self._pidfd, seconds)
        elif not self._ended:
            deadline = time.monotonic() + seconds
            while _exists(self.pid) and time.monotonic() < deadline:
                time.sleep(0.01)
            self._ended = not _exists(self.pid)
        return self._ended

    def kill(self) -> None:
        """Kill the process, halted or not."""
        if self._ended:
            return
        with suppress(ProcessLookupError):
            if self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            else:
                os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Release the process; it is not ended."""
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def die_with_parent(parent: int) -> None:
    """Have Linux kill this process, halted or not, as soon as the thread that started it has ended.

    On other systems, only a parent that has ended before this call is noticed.

    Args:
        parent: the process that started this one; if it has already ended, this process exits.
    """
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def wake_with_parent(parent: int, leave: Callable[[], None]) -> None:
    """Have Linux wake this process, if it is halted, as soon as the thread that started it has ended.

    For a process that has something to do at its end. Call it in the main thread. Other systems: see `die_with_parent`.

    Args:
        parent: the process that started this one.
        leave: called once that process has ended; not if only its thread has.
    """
    this = os.getpid()

    def check(*_: object) -> None:
        if os.getpid() == this and os.getppid() != parent:  # children inherit the handler
            leave()

    signal.signal(signal.SIGCONT, check)
    _prctl(PR_SET_PDEATHSIG, signal.SIGCONT)
    check()


def _prctl(option: int, value: int) -> None:
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option}, {value}) failed")


def return_free_memory() -> None:
    """Return memory that is free to the system, after a start that has used much.

    glibc would keep up to twice the size of the largest block that was ever freed.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it
    if trim is not None:
        trim(0)


def terminate_with_parent() -> None:
    """Send SIGTERM to this `multiprocessing` child as soon as its parent has ended, however it ended."""
    import multiprocessing  # here, because its imports take a tenth of `eventveil --help`

    parent = multiprocessing.parent_process()
    assert parent is not None
    sentinel = parent.sentinel

    def watch() -> None:
        readable(sentinel, None)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
