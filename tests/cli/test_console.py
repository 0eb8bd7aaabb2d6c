"""What the console shows: gestures, lines that fit a terminal, states in words, counts per topic, no colour needed."""

from __future__ import annotations

import json
import subprocess
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
from pipeline_helpers import gesture, publisher, state, window
from pipeline_setup import PROGRAM
from rich.console import Console
from typer.testing import CliRunner

from eventveil.cli import app, demo, run_output, status
from eventveil.cli.run_output import Ticker, print_summary, summary_of
from eventveil.stream.monitoring.figures import public_figures
from eventveil.stream.pipeline.status import Status
from eventveil.stream.runtime.accounting import PipelineCounters
from eventveil.stream.runtime.reporting import StageReport


def a_status(seconds, gestures, **values):
    """A pipeline of two streams with large numbers."""
    counts = {"windows": 123_456}
    source = {"windows": 123_456, "received": 9_876_543_210, "camera_away": 1}
    delays = {"latency_p50_ms": 1234.5, "latency_p99_ms": 12_345.6, "subscribers": 12.0}
    stages = [StageReport(stage="histogram:0", kind="beat", counts=source)]
    stages += [StageReport(stage="publish", kind="beat", counts=counts, values=delays, gestures=gestures)]
    counters = PipelineCounters(("histogram:0", "anonymize", "publish"), ("0",))
    counters["anonymize"]["0"].drop("queue", 1234)
    counters["publish"]["0"].drop("age", 567)
    return Status(seconds=seconds, stages={each.stage: each for each in stages}, counters=counters, **values)


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 80 columns in the place of standard error; returns what it shows."""
    console = Console(stderr=True, force_terminal=True, width=80, soft_wrap=True, highlight=False)
    monkeypatch.setattr(run_output, "stderr", console)
    monkeypatch.setattr("eventveil.cli.options.stderr", console)


@pytest.mark.usefixtures("terminal")
def test_the_ticker_names_the_gestures_since_the_line_before_in_80_columns(capsys):
    ticker = Ticker()
    ticker(a_status(99_999.0, {"0": {"right hand counter clockwise": 3}, "door": {"arm roll": 1}}))
    first = capsys.readouterr().err
    ticker(a_status(100_000.0, {"0": {"right hand counter clockwise": 3, "hand clapping": 9}, "door": {"arm roll": 2}}))
    second = capsys.readouterr().err
    ticker(a_status(100_001.0, {"0": {"hand clapping": 1}}))  # the publisher was restarted
    third = capsys.readouterr().err
    assert "0: right hand counter clockwise ×3" in first
    assert "door: arm roll" in first
    assert "right hand" not in second
    assert "0: hand clapping ×9" in second
    assert "  hand clapping\n" in third
    for text in (first, second, third):
        assert max(map(len, text.splitlines())) <= 80
        assert "dropped 1234 queue" in " ".join(text.split())
        assert "12 subscribers" in text
        assert "CAMERA AWAY" in text


def test_off_a_terminal_no_gesture_is_printed_and_a_second_is_a_line(capsys):
    """A service manager keeps this output in its log, and those who read that need not be subscribers."""
    shown = a_status(1.0, {"0": {"hand clapping": 9}})
    Ticker()(shown)
    print_summary(summary_of(shown))
    written = capsys.readouterr()
    assert "clapping" not in written.out + written.err
    assert len(written.err.splitlines()) == 1
    assert summary_of(shown)["gestures"] == {"0": {"hand clapping": 9}}  # --json is for the user who runs it


def test_status_shows_stages_in_their_order_and_states_in_words(capsys):
    running = a_status(1.0, {})
    running.stages = dict(reversed(running.stages.items()))  # the publisher reports first
    figures = public_figures(running) | {"healthy": True, "ready": True}
    assert list(figures["stages"]) == ["histogram:0", "publish"]
    Console().print(status._render(figures, None))
    shown = capsys.readouterr().out.partition("restarts")[2]
    assert shown.index("histogram:0") < shown.index("publish")
    assert "running" in shown
    assert "beat" not in shown


def test_a_network_that_does_not_run_in_fp32_is_named_once(capsys):
    ticker, running = Ticker(), a_status(1.0, {})
    running.stages["anonymize"] = StageReport(stage="anonymize", kind="beat", runs_on="cuda, bf16")
    running.stages["classify"] = StageReport(stage="classify", kind="beat", runs_on="cpu, fp32")
    for _ in range(2):
        ticker(running)
    shown = capsys.readouterr().err
    assert shown.count("runs on") == shown.count("anonymize runs on cuda, bf16") == 1
    figures = public_figures(running) | {"healthy": True, "ready": True}
    assert figures["stages"]["anonymize"]["runs_on"] == "cuda, bf16"
    Console(width=80).print(status._render(figures, None))
    assert "bf16" in capsys.readouterr().out


def received(*options, messages):
    with publisher(*messages) as endpoint:
        done = CliRunner().invoke(app, ["subscribe", endpoint, "--json", *options])
    return done.exit_code, [json.loads(line) for line in done.stdout.splitlines()]


def test_count_is_per_topic():
    many = [frames for seq in range(5) for frames in (window(seq), gesture(seq))]
    status, messages = received("--count", "3", messages=[*many, state()])
    assert status == 0
    assert [(message["topic"], message["seq"]) for message in messages] == list(
        zip(cycle(("window", "gesture")), (0, 0, 1, 1, 2, 2), strict=False)
    )
    lonely = [*(window(seq) for seq in range(5)), gesture(4), gesture(5)]
    status, messages = received("--count", "2", messages=[*lonely, state()])
    assert status == 0
    assert [(message["topic"], message["seq"]) for message in messages] == [
        ("window", 0), ("window", 1), ("gesture", 4), ("gesture", 5),
    ]  # fmt: skip
    status, messages = received("--count", "2", messages=[*(window(seq) for seq in range(5)), state()])
    assert status == 1  # no gesture came
    assert [message["topic"] for message in messages] == ["window", "window", "state"]


def test_json_holds_the_score_of_a_gesture():
    _, messages = received(messages=[gesture(0, probability=0.75), state()])
    assert (messages[0]["label"], messages[0]["probability"]) == ("wave", 0.75)


def test_states_are_words():
    with publisher(state(state="camera_lost", stream="door"), state()) as endpoint:
        shown = CliRunner().invoke(app, ["subscribe", endpoint]).stdout
    assert "stream door: camera lost" in shown


def test_without_colours_the_picture_is_drawn_in_shades(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(demo, "stdout", Console(force_terminal=True, width=80))
    values = np.zeros((2, 32, 32), np.float32)
    values[:, 4:6, 10] = 3
    lines = demo._draw(values).plain.splitlines()
    assert [(y, x) for y, line in enumerate(lines) for x, shade in enumerate(line) if shade == "█"] == [(2, 10)]
    assert {*"".join(lines)} == {" ", "█"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full, the disk that is always full")
@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["weights", "show", "shipped", "--json"]])
def test_results_that_do_not_fit_on_a_disk_are_one_line_and_no_traceback(arguments):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*PROGRAM, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    words = "eventveil: the output cannot be written (No space left on device); free some space\n"
    assert done.stderr == words


@pytest.mark.parametrize("value", ["nan", "-1"])
def test_a_timeout_that_would_never_or_always_be_over_is_refused(value):
    done = CliRunner().invoke(app, ["subscribe", "tcp://127.0.0.1:5999", "--timeout", value, "--count", "0"])
    assert done.exit_code == 2
    assert isinstance(done.exception, SystemExit)
