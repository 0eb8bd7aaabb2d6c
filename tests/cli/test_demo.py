"""`eventveil demo`, as `make demo` runs it."""

from __future__ import annotations

import re
import subprocess

import pytest
from pipeline_setup import PROGRAM

from eventveil.replay.datasets.dvs_gesture import GESTURES


@pytest.fixture(scope="module")
def done():
    return subprocess.run(
        [*PROGRAM, "demo", "--seconds", "6"], capture_output=True, text=True, timeout=100, check=False
    )


def test_the_demo_publishes_receives_warns_and_ends_by_itself(done):
    assert done.returncode == 0, done.stderr
    assert "The people are simulated" in done.stderr
    assert "UNTRAINED" not in done.stdout + done.stderr
    windows = [line for line in done.stdout.splitlines() if line.startswith("subscriber  window")]
    gestures = [line for line in done.stdout.splitlines() if line.startswith("subscriber  gesture")]
    assert len(windows) >= 5
    assert len(gestures) == len(windows)
    assert "subscriber  pipeline: ended" in done.stdout
    published = [line for line in done.stdout.splitlines() if line.startswith("publisher")]
    assert f"{len(windows)} windows" in published[-2]
    assert "by chance 9%" in published[-1]


def test_only_the_publisher_tells_what_is_really_shown(done):
    shown = [line for line in done.stdout.splitlines() if line.startswith("publisher     shown  ")]
    assert len(shown) >= 1
    assert all(line.removeprefix("publisher     shown  ") in GESTURES for line in shown)
    assert len(shown) == sum(line.startswith("publisher     seen   ") for line in done.stdout.splitlines())
    assert not re.search(r"shown|user\d\d", done.stdout.replace("publisher     shown", "") + done.stderr)
