"""The fork server: every start ends in time, no death of it goes unnoticed, and it ends with its supervisor."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading

import pytest

from eventveil.errors import LineError
from eventveil.stream.pipeline import fork_server
from eventveil.stream.pipeline.fork_server import ForkServer, StageProcess

PATIENCE_S = 60.0
GIVEN_UP = "the fork server started no process for 0.5 s; it was killed"
KILLED = "the fork server, from which stages are started, was killed by SIGKILL"


@pytest.fixture
def server(monkeypatch):
    """A fork server of its own, which has not imported torch."""
    fork_server.SERVERS["networks"]._stop()
    monkeypatch.setitem(fork_server.PRELOAD, "networks", [])
    server = ForkServer("networks")
    yield server
    server.interrupt()
    os.kill(server.pid, signal.SIGKILL)  # not collected yet, so its number is its own
    server.close()
    fork_server.SERVERS["networks"]._stop()


def start(server, target=print, limit_s=PATIENCE_S, **arguments):
    return server.start(target, name="test", limit_s=limit_s, **arguments)


def test_a_process_is_started_and_its_exit_status_known(server):
    process = start(server, sys.exit, args=(3,))
    process.join(PATIENCE_S)
    assert process.exitcode == 3
    assert server.failure() is None


def test_stages_collect_only_garbage_of_their_own(server, tmp_path):
    """Otherwise, a collection copies nearly all memory that a stage shares with its fork server."""
    code = "import gc, pathlib; pathlib.Path({!r}).write_text(f'{{gc.isenabled()}} {{gc.get_freeze_count()}}')"
    process = start(server, exec, args=(code.format(str(tmp_path / "state")),))
    process.join(PATIENCE_S)
    enabled, frozen = (tmp_path / "state").read_text().split()
    assert enabled == "True"
    assert int(frozen) > 10_000


def kill_and_wait(server):
    os.kill(server.pid, signal.SIGKILL)
    os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)


def test_a_killed_fork_server_is_not_replaced(server):
    kill_and_wait(server)
    assert server.failure() == KILLED
    with pytest.raises(LineError, match=f"^{KILLED}$"):
        start(server)
    assert fork_server.SERVERS["networks"]._forkserver_pid == server.pid


def test_a_dead_fork_server_is_noticed_where_the_system_does_not_say_how_it_ended(server, monkeypatch):
    """As macOS, whose Python has no `waitid` before 3.13."""
    kill_and_wait(server)
    monkeypatch.delattr(os, "waitid")
    assert server.failure() == "the fork server, from which stages are started, has died"


def test_a_fork_server_that_was_replaced_all_the_same_is_noticed(server, monkeypatch):
    kill_and_wait(server)
    monkeypatch.setattr(ForkServer, "failure", lambda self: None)  # as if it had died a moment later
    with pytest.raises(LineError, match="the fork server, from which stages are started, has died"):
        start(server, signal.pause)
    monkeypatch.undo()
    server.pid = fork_server.SERVERS["networks"]._forkserver_pid  # for the fixture


def test_a_halted_fork_server_is_killed_in_time(server):
    os.kill(server.pid, signal.SIGSTOP)
    with pytest.raises(LineError, match=f"^{GIVEN_UP}$"):
        start(server, limit_s=0.5)
    assert server.failure() == GIVEN_UP


def test_ctrl_c_works_while_a_start_blocks(server):
    os.kill(server.pid, signal.SIGSTOP)
    before = signal.signal(signal.SIGINT, lambda *_: server.interrupt())
    ctrl_c = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    ctrl_c.start()
    try:
        with pytest.raises(LineError, match=KILLED):
            start(server)
    finally:
        ctrl_c.join()
        signal.signal(signal.SIGINT, before)


def test_a_process_for_which_no_descriptor_is_left_is_an_error_of_ours(server):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
    try:
        with pytest.raises(LineError, match=r"the stage cannot be started: .*Too many open files"):
            start(server)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert server.failure() is None


def test_the_end_of_a_stage_is_noticed_without_its_fork_server(server):
    stage = StageProcess(server, target=signal.pause, name="test", limit_s=PATIENCE_S)
    stage.start()
    assert stage.is_alive()
    os.kill(server.pid, signal.SIGSTOP)
    stage.kill()
    stage.join(PATIENCE_S)
    assert not stage.is_alive()
    assert stage.exitcode is None  # only the fork server could tell
    server.close()  # returns, although the fork server is halted
    assert stage.exitcode is not None


RESTARTS = """
import gc, multiprocessing, os, signal
from eventveil.stream.pipeline import fork_server
from eventveil.stream.pipeline.supervisor import StageSupervisor
from eventveil.stream.runtime.accounting import PipelineCounters

def descriptors():
    # multiprocessing collects ended processes at the next start
    multiprocessing.active_children()
    gc.collect()
    return len(os.listdir("/proc/self/fd"))

if __name__ == "__main__":
    fork_server.PRELOAD["stages"] = []
    server = fork_server.ForkServer("stages")
    counters = PipelineCounters(("anonymize",), ("cam",))["anonymize"]
    counters.life = 1

    def make(limit_s):
        return fork_server.StageProcess(server, target=signal.pause, name="test", limit_s=60)

    stage = StageSupervisor(counters, make, restarts=9, hang_s=None)
    stage.start()
    stage.restart("why", 0)
    before = descriptors()
    for _ in range(4):
        stage.restart("why", 0)
    # Each start releases the processes whose end the fork server has reported by then; of the last, it may not have.
    for _ in range(20):
        if descriptors() <= before:
            break
        stage.restart("why", 0)
    print(before, descriptors(), flush=True)
    stage.end()
    server.close()
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts in /proc")  # noqa: PTH112
def test_restarts_leave_no_descriptor_open(tmp_path):
    script = tmp_path / "script.py"  # a process of its own: what other tests started may open and close descriptors
    script.write_text(RESTARTS)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=300)
    before, after = map(int, done.stdout.split())
    assert after <= before


SUPERVISOR = """
import multiprocessing.util, os, signal
from eventveil.host.processes import die_with_parent
from eventveil.stream.pipeline import fork_server

def stage(parent, folder):
    die_with_parent(parent)
    print(parent, os.getpid(), folder, flush=True)
    signal.pause()

if __name__ == "__main__":
    fork_server.PRELOAD["stages"] = []
    server = fork_server.ForkServer("stages")
    server.start(stage, name="test", limit_s=60, args=(server.pid, multiprocessing.util.get_temp_dir()))
    signal.pause()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl and pidfds are Linux's")
@pytest.mark.parametrize("halted", [False, True])
def test_nothing_survives_a_killed_supervisor(tmp_path, halted):
    script = tmp_path / "script.py"
    script.write_text(SUPERVISOR)
    supervisor = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    server, stage, folder = supervisor.stdout.readline().split()
    handles = [fork_server.ProcessHandle(int(pid)) for pid in (server, stage)]
    assert os.path.isdir(folder)  # noqa: PTH112
    if halted:
        os.kill(int(server), signal.SIGSTOP)
        os.kill(int(stage), signal.SIGSTOP)
    supervisor.kill()
    supervisor.communicate()
    assert [handle.wait(PATIENCE_S) for handle in handles] == [True, True]
    assert not os.path.exists(folder)  # noqa: PTH110
    for handle in handles:
        handle.close()


def test_a_folder_for_temporary_files_that_is_too_long_for_a_socket_is_named(tmp_path):
    long = tmp_path / ("long" * 20)
    long.mkdir()
    code = "from eventveil.stream.pipeline.fork_server import ForkServer; ForkServer('stages')"
    environment = os.environ | {"TMPDIR": str(long)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].startswith("eventveil.errors.ConfigError: line.run_as: ")
    assert "set TMPDIR" in done.stderr
    assert str(long) in done.stderr
    assert list(long.iterdir()) == []
