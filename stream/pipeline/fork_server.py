"""Fork servers: processes that have imported everything a stage needs, and do nothing else.

Stages are forked from them, so a restarted stage is back in a fraction of a second; importing torch alone takes seconds
on a busy machine. There are two, which import side by side: one for the stages that run networks, and one, without
torch, for all others. They have neither threads nor sockets, so no child inherits a lock that will never be released.
They and their children ignore Ctrl-C and SIGTERM: a terminal and a service manager send them to every process, and only
the supervisor acts on them.

`multiprocessing` has a single fork server, and trusts it: it waits for an answer without a limit, and silently starts
another one when the first has died. Here every start has a time limit, and a pipeline whose fork server has died fails.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, util
from multiprocessing.process import BaseProcess
from typing import Any, Literal

from eventveil.errors import ConfigError, LineError
from eventveil.host.processes import ProcessHandle, describe_end, environment, ignored_signals, safe_import_path
from eventveil.stream.pipeline.fork_server_end import SUPERVISOR

Kind = Literal["stages", "networks"]
PRELOAD: dict[Kind, list[str]] = {
    "stages": ["eventveil.stream.stages.recording", "eventveil.io.validation.checks"],
    "networks": ["eventveil.models.runtime", "eventveil.models.stand_in_runtime", "eventveil.models.weights"],
}
"""The modules that each kind imports, besides those that every fork server needs."""
CAMERAS = ("eventveil.stream.stages.camera",)
"""The modules that only stages with a camera need."""
STATUS_S = 0.2  # how long the fork server may take to report how a stage has ended
SETTLE_S = 2.0  # and at the end of the pipeline
SERVERS: dict[Kind, forkserver.ForkServer] = {kind: forkserver.ForkServer() for kind in PRELOAD}
"""One of each kind, shared by all pipelines of this process."""
_connecting = threading.Lock()


class ForkServer:
    """A fork server and the stages it has started for one pipeline.

    Args:
        kind: the stages that it starts.
        modules: it imports these, too.

    Attributes:
        pid: process ID of the fork server.

    Raises:
        ConfigError: it cannot be started, for example if the path of the temporary folder is too long for a socket.
    """

    def __init__(self, kind: Kind, modules: Iterable[str] = ()) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._server = SERVERS[kind]
        # The end comes first: it also covers the time of the other imports.
        first = ["eventveil.stream.pipeline.fork_server_end", "eventveil.stream.pipeline.network_stages"]
        self._server.set_forkserver_preload([*first, *PRELOAD[kind], *modules])
        try:
            supervisor = environment(**{SUPERVISOR: f"{os.getpid()}:{util.get_temp_dir()}"})
            with ignored_signals(signal.SIGINT, signal.SIGTERM), safe_import_path(), supervisor:
                self._server.ensure_running()
        except OSError as error:
            raise ConfigError(
                f"line.run_as: processes cannot be started with temporary files in {tempfile.gettempdir()}: {error}; "
                "set TMPDIR to a folder of yours with a path under 70 bytes"
            ) from error
        self.pid = self._present_pid()
        self._handle = ProcessHandle(self.pid)
        self._processes: list[BaseProcess] = []
        self._starting = False
        self._reason: str | None = None

    def fileno(self) -> int | None:
        """Return a descriptor that becomes readable when the fork server has ended; None if the system has none."""
        return self._handle.fileno()

    def failure(self) -> str | None:
        """Return why no stage can be started any more, or None."""
        if self._reason is None and not self._handle.is_alive():
            self._reason = _describe_death(self.pid)
        return self._reason

    def interrupt(self) -> None:
        """Give up a start that is under way, and the fork server with it. May be called by a signal handler."""
        if self._starting:
            self._handle.kill()

    def start(self, target: Callable[..., Any], *, name: str, limit_s: float, **arguments: Any) -> BaseProcess:
        """Start a process.

        Args:
            target: what it calls.
            name: name of the process.
            limit_s: seconds until a fork server that does not answer is killed.
            arguments: `args` and `kwargs` of the call.

        Raises:
            LineError: the process could not be started.
        """
        process = self._context.Process(target=target, name=name, daemon=True, **arguments)
        timer = threading.Timer(limit_s, self._give_up, (limit_s,))
        timer.daemon = True
        self._starting = True
        try:
            self._raise_failure()
            timer.start()
            with _connecting, self._connection():
                process.start()
            self._processes = [*(each for each in self._processes if each.exitcode is None), process]
            if self._present_pid() != self.pid:  # `multiprocessing` replaced a fork server that had died just before
                process.kill()
                raise LineError(_describe_death(self.pid))
        except (OSError, EOFError) as error:
            self._handle.wait(STATUS_S)  # if the fork server is dying, say so
            self._raise_failure()
            raise LineError(f"the stage cannot be started: {error or type(error).__name__}") from error
        finally:
            timer.cancel()
            self._starting = False
        return process

    def close(self) -> None:
        """Wait until the fork server has reported the end of all stages, which have all been killed.

        One that does not is halted, and is killed, too: Python would wait for it without end when it exits.
        """
        deadline = time.monotonic() + SETTLE_S
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
        if any(process.exitcode is None for process in self._processes):
            self._handle.kill()
            for process in self._processes:
                process.join(SETTLE_S)
        self._handle.close()

    def _present_pid(self) -> int:
        """Return the process ID of the current fork server; `multiprocessing` has no public name for it."""
        pid: int = self._server._forkserver_pid  # type: ignore[attr-defined]
        return pid

    @contextmanager
    def _connection(self) -> Iterator[None]:
        """Start processes from this fork server, instead of Python's single one, while the context is open."""
        usual = forkserver.connect_to_new_process
        forkserver.connect_to_new_process = self._server.connect_to_new_process
        try:
            yield
        finally:
            forkserver.connect_to_new_process = usual

    def _raise_failure(self) -> None:
        failure = self.failure()
        if failure is not None:
            raise LineError(failure)

    def _give_up(self, limit_s: float) -> None:
        self._reason = f"the fork server started no process for {limit_s:g} s; it was killed"
        self._handle.kill()


class StageProcess:
    """The process of a stage, held by a handle of its own: the fork server knows how it ended, but may have died.

    Args:
        server: the fork server.
        arguments: of `ForkServer.start`.
    """

    def __init__(self, server: ForkServer, **arguments: Any) -> None:
        self._server = server
        self._arguments = arguments

    def start(self) -> None:
        """Start it.

        Raises:
            LineError: it could not be started.
        """
        self._process = self._server.start(**self._arguments)
        assert self._process.pid is not None
        self._handle = ProcessHandle(self._process.pid)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._handle.pid

    @property
    def exitcode(self) -> int | None:
        """How it ended, as `multiprocessing` says it; None if that is unknown."""
        self._process.join(STATUS_S)
        return self._process.exitcode

    def fileno(self) -> int | None:
        """Return a descriptor that becomes readable when it has ended; None if the system has none."""
        return self._handle.fileno()

    def is_alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._handle.is_alive()

    def kill(self) -> None:
        """Kill it, halted or not."""
        self._handle.kill()

    def join(self, seconds: float) -> None:
        """Wait at most this long for its end, and then release it."""
        if self._handle.wait(seconds):
            self._handle.close()


def _describe_death(pid: int) -> str:
    """Say how the fork server ended, and leave its status for `multiprocessing` to collect."""
    name = "the fork server, from which stages are started,"
    if not hasattr(os, "waitid"):  # macOS, up to Python 3.12
        return f"{name} has died"
    try:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    except ChildProcessError:
        ended = None  # already collected
    if ended is None:
        return f"{name} has died"
    return describe_end(name, ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status)
