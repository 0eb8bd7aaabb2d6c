"""The walks in docs/walks/: each command runs, and prints what the page shows.

`...` in an output stands for any text, also of several lines. To write the outputs into the pages after a change:
`EVENTVEIL_WRITE_WALKS=1 python -m pytest tests/system/test_walks.py`, then shorten what is long or differs to `...`.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal

import numpy as np
import pytest
from documentation import WALKS
from typer.testing import CliRunner

from eventveil import Sensor
from eventveil.cli import app, options
from eventveil.errors import EventVeilError
from eventveil.models import shipped
from eventveil.stream.preprocess.hot_pixel_file import HotPixelFile

CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CHANGING = (
    (re.compile(r"[A-Z0-9]{4}(-[A-Z0-9]{4}){4}"), "..."),  # fingerprints
    (re.compile(r"(?<= )[!-~]{40}(?=  )"), "..."),  # keys
    (re.compile(r"\b[0-9a-f]{64}\b"), "..."),  # digests
    (re.compile(r"\b\d+(\.\d+)? (s|ms|us)\b"), "..."),  # times of this run
    (re.compile(r"ExecStart=\S+"), "ExecStart=..."),
    (re.compile(r"/\S*/(?=(shipped|bin)/)"), ".../"),
    (re.compile(r'OWNER="[^"]*"'), 'OWNER="..."'),
)


def steps(block):
    """Yield the commands of a block with the output that it shows."""
    for step in re.split(r"(?m)^\$ ", block)[1:]:
        command, _, output = step.partition("\n")
        yield command, output.rstrip()


def run(command):
    """Run a command in this process; return what it prints, with an error as the program prints it.

    Spaces at the ends of lines are left out.
    """
    words = shlex.split(command)
    assert words[0] == "eventveil"
    done = CliRunner().invoke(app, words[1:])
    text = done.output
    if not (done.exception is None or isinstance(done.exception, SystemExit)):
        assert isinstance(done.exception, EventVeilError), repr(done.exception)
        text = f"{text}eventveil: {done.exception}"
    return "\n".join(line.rstrip() for line in text.rstrip().splitlines())


def fits(output, shown):
    """Return whether an output is what a page shows, where `...` stands for any text."""
    pattern = ".*".join(re.escape(part) for part in shown.split("..."))
    return re.fullmatch(pattern, output, re.DOTALL) is not None


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the files that the walks name, and the width of a terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(options, "verbosity", options.verbosity)
    shutil.copy(shipped.BOOK, "book.safetensors")
    HotPixelFile("DXB00010", Sensor(640, 480)).save(np.ones((480, 640), np.bool_))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield tmp_path
    options.verbosity.quiet = False
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("page", WALKS, ids=lambda page: page.stem)
def test_a_walk_prints_what_it_shows(page, place):
    write = "EVENTVEIL_WRITE_WALKS" in os.environ

    def walked(block):
        written = []
        for command, shown in steps(block[1]):
            output = run(command).replace(str(place), "...")
            assert write or fits(output, shown), f"$ {command}\nprints:\n{output}\nthe page shows:\n{shown}"
            for pattern, sign in CHANGING:
                output = pattern.sub(sign, output)
            written.append(f"$ {command}\n{output}".rstrip())
        return "```console\n" + "\n".join(written) + "\n```"

    text = CONSOLE.sub(walked, page.read_text())
    if write:
        page.write_text(text)


def test_there_are_three_walks_and_an_output_that_differs_is_noticed():
    assert [page.stem for page in WALKS] == ["engineer", "officer", "student"]
    assert all(page.read_text().count("\n$ ") >= 5 for page in WALKS)
    assert fits("a 12 b\nc", "a ... b\nc")
    assert not fits("a 12 b\nd", "a ... b\nc")
    assert not fits("a", "a\nb")
