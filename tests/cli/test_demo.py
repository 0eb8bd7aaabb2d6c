"""`eventveil demo`, as `make demo` runs it."""

from __future__ import annotations

import re
import subprocess
from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest
from pipeline_setup import PROGRAM
from rich.console import Console

from eventveil.cli.demo import LINES, SimulatedCamera, _draw, _side_by_side
from eventveil.replay.datasets.dvs_gesture import GESTURES
from eventveil.replay.simulation.people import SimulatedPeople


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
    assert "by chance 8%" in published[-1]


def test_only_the_publisher_tells_what_is_really_shown(done):
    shown = [line for line in done.stdout.splitlines() if line.startswith("publisher     shown  ")]
    assert len(shown) >= 1
    assert all(line.removeprefix("publisher     shown  ") in GESTURES for line in shown)
    assert len(shown) == sum(line.startswith("publisher     seen   ") for line in done.stdout.splitlines())
    assert not re.search(r"shown|user\d\d", done.stdout.replace("publisher     shown", "") + done.stderr)


def test_the_picture_beside_the_published_one_shows_the_events_of_the_same_time():
    clip = next(SimulatedPeople.parse({"sensor": "64x64", "seconds": "1"}).takes())
    with clip.open() as packets:
        t, x, y, p = (np.concatenate(axis) for axis in zip(*((e.t, e.x, e.y, e.p) for e in packets), strict=True))
    t -= t[0]  # a clip begins with its first event
    camera = SimulatedCamera("simulate:?sensor=64x64&seconds=1")
    for start_us, end_us in ((200_000, 300_000), (300_000, 700_000)):
        expected = np.zeros((2, 32, 32), int)
        during = (start_us <= t) & (t < end_us)
        np.add.at(expected, (p[during].astype(int), y[during] // 2, x[during] // 2), 1)
        assert expected.sum() > 100
        header = SimpleNamespace(t_start_us=start_us, t_end_us=end_us)
        np.testing.assert_array_equal(camera.seen(header), expected)


def test_both_pictures_and_the_lines_fit_into_a_small_terminal():
    lines, picture = deque(f"a long line {'x' * 60}" for _ in range(LINES)), _draw(np.ones((20, 128, 128), np.float32))
    drawn = Console(width=80).render_lines(_side_by_side(lines, lines, (picture, picture)))
    assert len(drawn) < 24
