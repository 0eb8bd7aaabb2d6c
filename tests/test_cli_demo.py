"""The demo, as `make demo` calls it."""

from __future__ import annotations

import subprocess

from line_setup import PROGRAM


def test_the_demo_publishes_receives_warns_and_ends_by_itself():
    done = subprocess.run(
        [*PROGRAM, "demo", "--seconds", "2"], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "UNTRAINED WEIGHTS" in done.stderr
    windows = [line for line in done.stdout.splitlines() if line.startswith("subscriber  window")]
    gestures = [line for line in done.stdout.splitlines() if line.startswith("subscriber  gesture")]
    assert len(windows) >= 5
    assert len(gestures) == len(windows)
    assert "subscriber  the line: ended" in done.stdout
    assert f"{len(windows)} windows" in done.stdout.splitlines()[-1]
