"""Tasks in several processes: workers end with the process that started them, however that ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eventveil.errors import TrainingError
from eventveil.training.distributed.workers import in_processes

SCRIPT = """
import os, sys, time
from eventveil.training.distributed.workers import in_processes

def task(seconds):
    print(os.getpid(), flush=True)
    time.sleep(seconds)

if __name__ == "__main__":
    for _ in in_processes(task, [(600,), (600,)], 2):
        pass
"""
SOON_S = 20


def ended(pid):
    """Return whether a process has ended: it is gone, or waits to be collected by its present parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("signal", ["SIGTERM", "SIGKILL"])
def test_workers_end_with_their_parent(tmp_path, signal):
    script = tmp_path / "tasks.py"
    script.write_text(SCRIPT)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        workers = [int(parent.stdout.readline()) for _ in range(2)]
        assert not any(ended(worker) for worker in workers)
        parent.terminate() if signal == "SIGTERM" else parent.kill()
    until = time.monotonic() + SOON_S
    while not all(ended(worker) for worker in workers):
        assert time.monotonic() < until, f"{workers} live on without {parent.pid} ({os.getpid()})"
        time.sleep(0.05)


def test_a_worker_that_is_killed_is_an_error_that_says_what_to_do():
    with pytest.raises(TrainingError, match="was killed, perhaps because memory or the disk is full"):
        list(in_processes(os._exit, [(9,)], 1))
