"""Child processes: no code from the working directory, inherited signal masks, and an end that is described."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from eventveil.host.processes import (
    ProcessHandle,
    blocked_signals,
    describe_exit,
    die_with_parent,
    forbid_core_dumps,
    ignored_signals,
    module_command,
    raise_descriptor_limit,
    return_free_memory,
    safe_import_path,
    terminate_with_parent,
)

PATIENCE_S = 60.0
PR_GET_DUMPABLE = 3  # linux/prctl.h
MASK = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))"
HANDLER = "import signal; print(signal.getsignal(signal.SIGTERM) is signal.SIG_IGN)"


def output(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


FREE_MEMORY = """
import os
from eventveil.host.processes import return_free_memory

def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

large = bytearray(30_000_000)
del large  # from now on, glibc keeps blocks of up to that size
blocks = [bytearray(100_000) for _ in range(400)]
del blocks[:-1]
kept = resident_mb()
return_free_memory()
print(kept - resident_mb())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="glibc keeps free memory")
def test_free_memory_is_returned():
    assert float(output(FREE_MEMORY)) > 30


def test_free_memory_is_left_alone_where_the_system_cannot_take_it(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())  # as on macOS, or with musl
    return_free_memory()


def test_a_module_in_the_working_directory_is_not_imported(tmp_path):
    (tmp_path / "numpy.py").write_text("raise SystemExit('planted')")
    command = module_command("eventveil.cli", "--version")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("eventveil ")


START_A_STAGE_PROCESS = """
import sys
from eventveil.stream.pipeline.fork_server import ForkServer

if __name__ == "__main__":
    process = ForkServer("stages").start(print, name="test", limit_s=60, args=("started",))
    process.join()
    sys.exit(process.exitcode)
"""


def test_the_processes_of_a_pipeline_import_nothing_from_the_working_directory(tmp_path):
    planted = tmp_path / "planted"
    planted.mkdir()
    for package in ("numpy", "zmq", "torch"):
        (planted / f"{package}.py").write_text("raise SystemExit('planted')")
    script = tmp_path / "script.py"
    script.write_text(START_A_STAGE_PROCESS)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, cwd=planted, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "started\n", "")


def test_a_safe_import_path_is_for_children_of_the_block_alone(monkeypatch):
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    with safe_import_path():
        assert output("import sys; print(sys.flags.safe_path)") == "True"
    assert "PYTHONSAFEPATH" not in os.environ


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exit status 0"),
        (3, "exit status 3"),
        (-9, "killed by SIGKILL"),
        (-11, "killed by SIGSEGV"),
        (-40, "killed by signal 40"),
    ],
)
def test_the_end_of_a_process_in_words(status, words):
    assert describe_exit(status) == words


def test_the_words_fit_a_real_process():
    killed = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    killed.kill()
    killed.communicate()
    assert describe_exit(killed.returncode) == "killed by SIGKILL"


def test_a_child_inherits_blocked_signals_and_the_parent_gets_its_own_back():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with blocked_signals(signal.SIGINT):
        assert output(MASK) == "True"
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    assert output(MASK) == "False"


def test_a_child_inherits_ignored_signals_and_the_parent_gets_its_handlers_back():
    before = signal.getsignal(signal.SIGTERM)
    with ignored_signals(signal.SIGTERM):
        assert output(HANDLER) == "True"
    assert signal.getsignal(signal.SIGTERM) is before
    assert output(HANDLER) == "False"


def idle(pipe):
    terminate_with_parent()
    pipe.send(os.getpid())
    time.sleep(10 * PATIENCE_S)


def parent(pipe):
    multiprocessing.get_context("spawn").Process(target=idle, args=(pipe,), daemon=False).start()
    time.sleep(10 * PATIENCE_S)


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:  # noqa: PTH123
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def assert_ends(pid):
    deadline = time.monotonic() + PATIENCE_S
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks at /proc")  # noqa: PTH112
def test_a_child_ends_with_its_killed_parent():
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    middle = context.Process(target=parent, args=(there,))
    middle.start()
    assert here.poll(PATIENCE_S)
    child = here.recv()
    assert is_alive(child)
    middle.kill()
    middle.join()
    assert_ends(child)


def report_core_dumps(pipe):
    forbid_core_dumps()
    libc = ctypes.CDLL(None)
    pipe.send((resource.getrlimit(resource.RLIMIT_CORE), libc.prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)))


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_process_that_forbids_core_dumps_leaves_none():
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=report_core_dumps, args=(there,))
    process.start()
    assert here.poll(PATIENCE_S)
    assert here.recv() == ((0, 0), 0)
    process.join(PATIENCE_S)


@pytest.mark.parametrize(("limits", "raised"), [((256, 900), 900), ((256, resource.RLIM_INFINITY), 65_536)])
def test_the_descriptor_limit_is_raised_as_far_as_possible(monkeypatch, limits, raised):
    now = list(limits)
    monkeypatch.setattr(resource, "getrlimit", lambda which: tuple(now))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: now.__setitem__(slice(None), limits))
    raise_descriptor_limit()
    assert now == [raised, limits[1]]


def test_too_few_descriptors_are_an_error_that_says_what_to_do():
    command = 'ulimit -n 24; exec "$@"'
    code = "from eventveil.host.processes import raise_descriptor_limit; raise_descriptor_limit()"
    python = ["sh", "-c", command, "sh", sys.executable, "-c", code]
    done = subprocess.run(python, capture_output=True, text=True, check=False)
    assert "ConfigError: this process may open only 24 files and sockets, and needs 256; raise" in done.stderr


def idle_until_the_parent_dies(pipe):
    die_with_parent(os.getppid())
    pipe.send(os.getpid())
    time.sleep(10 * PATIENCE_S)


def forking_parent(pipe):
    multiprocessing.get_context("fork").Process(target=idle_until_the_parent_dies, args=(pipe,)).start()
    time.sleep(10 * PATIENCE_S)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds processes")
def test_the_handle_of_a_process_that_has_ended_is_of_no_other_one(monkeypatch):
    """Its number may already be that of another process, here this one."""

    def ended(_):
        raise ProcessLookupError

    monkeypatch.setattr(os, "pidfd_open", ended)
    handle = ProcessHandle(os.getpid())
    assert not handle.is_alive()
    killed = []
    monkeypatch.setattr(os, "kill", lambda *arguments: killed.append(arguments))
    handle.kill()
    assert not killed


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_even_a_halted_child_dies_with_its_killed_parent():
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=forking_parent, args=(there,))
    process.start()
    assert here.poll(PATIENCE_S)
    child = here.recv()
    os.kill(child, signal.SIGSTOP)
    process.kill()
    process.join()
    assert_ends(child)
