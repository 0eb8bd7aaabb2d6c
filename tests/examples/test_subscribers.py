"""The example subscribers receive windows, gestures and the end, each where its tools are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from page_helpers import PATIENCE_S, Publisher
from pipeline_helpers import pipeline_ended

EXAMPLES = Path(__file__).parents[2] / "examples" / "subscribers"
pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="only a checkout has the examples")
LONGEST = 60  # lines
VALUES = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def python(_):
    return [sys.executable, str(EXAMPLES / "subscriber.py")]


def node(_):
    """EVENTVEIL_NODE_MODULES names the folder of node_modules that holds zeromq."""
    modules = os.environ.get("EVENTVEIL_NODE_MODULES", "")
    if shutil.which("node") is None or not Path(modules, "zeromq").is_dir():
        pytest.skip("no node with zeromq here: npm install zeromq, and set EVENTVEIL_NODE_MODULES to its node_modules")
    return ["node", "--preserve-symlinks-main", str(EXAMPLES / "subscriber.mjs")]


def compiled(folder):
    compiler, program = shutil.which("g++"), folder / "subscriber"
    if compiler is None:
        pytest.skip("no C++ compiler here: apt-get install g++")
    command = [compiler, "-std=c++17", str(EXAMPLES / "subscriber.cpp"), "-lzmq", "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No such file or directory" in done.stderr or "cannot find -lzmq" in done.stderr:
        pytest.skip("no cppzmq here: apt-get install cppzmq-dev nlohmann-json3-dev")
    assert done.returncode == 0, done.stderr
    return [str(program)]


@pytest.mark.parametrize("command_of", [python, compiled, node])
def test_a_subscriber_receives_windows_gestures_and_the_end(command_of, tmp_path):
    command = command_of(tmp_path)
    if command[0] == "node":  # modules are looked for beside the program
        (tmp_path / "node_modules").symlink_to(os.environ["EVENTVEIL_NODE_MODULES"])
        command[-1] = str(shutil.copy(command[-1], tmp_path))
    with Publisher() as publisher:
        process = subprocess.Popen([*command, publisher.endpoint], stdout=subprocess.PIPE, text=True)
        try:
            publisher.wait()
            publisher.window(0, VALUES, stream="door")
            publisher.gesture(0, stream="door")
            publisher.send(pipeline_ended())
            output, _ = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
            process.wait()
    lines = output.splitlines()
    assert process.returncode == 0
    assert lines[0].startswith("window door 0 ")
    assert lines[0].endswith(" sum 276")
    assert [digit for digit in lines[0] if digit in "234"][:3] == ["2", "3", "4"]
    assert lines[1].startswith("gesture door 0 ")
    assert lines[2:] == ["state ended"]


@pytest.mark.parametrize("name", ["subscriber.py", "subscriber.cpp", "subscriber.mjs"])
def test_an_example_is_short(name):
    assert len((EXAMPLES / name).read_text().splitlines()) < LONGEST
