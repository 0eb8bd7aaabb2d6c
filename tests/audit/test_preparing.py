"""Ctrl-C while several processes simulate people and prepare windows: a clean end, and a resume from there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from small_audits import left_behind, values

from eventveil.replay.simulation.dataset import plan

SUBJECTS, SESSIONS = 5, 2
PATIENCE_S = 240.0


@pytest.fixture
def interrupted(tmp_path):
    """Return a function that starts an audit of simulated people, presses Ctrl-C on a condition, and checks the end."""
    config = values(None, data={"root": None, "workers": 2}, window={"bin_us": 100_000, "offsets": 8})
    config["data"]["simulate"] = {"subjects": SUBJECTS, "sessions": SESSIONS, "seconds": 1.2}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    command = ["audit", "--weights", "shipped", "--config", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "out")]

    def run(condition, *more):
        process = subprocess.Popen(
            [sys.executable, "-m", "eventveil.cli", *command, *more],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: all processes get it
        _, stderr = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 130, stderr
        assert "Traceback" not in stderr
        assert "--resume" in stderr
        assert not left_behind(process.pid, PATIENCE_S)

    return run


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_ctrl_c_while_people_and_windows_are_made(interrupted, tmp_path):
    work = tmp_path / "out" / "work"

    def trials():
        return {path: path.stat().st_mtime_ns for path in work.glob("data/*/*/*.npy")}

    interrupted(trials)
    before = trials()
    planned = {trial.path for trial in plan(work / "data", subjects=SUBJECTS, sessions=SESSIONS)}
    assert before.keys() < planned  # it stopped in the middle

    interrupted(lambda: list(work.glob("windows/*.part")), "--resume")
    after = trials()
    assert after.keys() == planned
    assert {path: after[path] for path in before} == before  # nothing is made twice
    assert not list(work.glob("windows/*.part"))
