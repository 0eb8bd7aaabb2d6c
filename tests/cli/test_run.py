"""`eventveil run` and `eventveil subscribe` as users run them: processes, exit statuses, signals, messages."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import dataset_makers
import pipeline_setup
import pytest
from pipeline_setup import PROGRAM, Kit, subscriber
from typer.testing import CliRunner

from eventveil.cli import app, main
from eventveil.cli.options import stdout
from eventveil.cli.run import _config_path
from eventveil.cli.run_output import Ticker, print_summary, summary_of
from eventveil.errors import ConfigError, EventVeilError
from eventveil.models import load_weights, save_weights
from eventveil.stream.pipeline.pipeline import Pipeline
from eventveil.stream.pipeline.status import Status
from eventveil.stream.runtime.reporting import StageReport


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return pipeline_setup.make_kit(tmp_path_factory.mktemp("kit"))


@pytest.fixture
def endpoint() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="eventveil-") as folder:
        yield f"ipc://{folder}/public"


def run_command(kit: Kit, endpoint: str, *options: str) -> list[str]:
    weights = ["--weights", str(kit.classifier), "--weights", str(kit.anonymizer)]
    return [*PROGRAM, "run", str(kit.recording), *weights, "--set", f"publish.bind={endpoint}", *options]


def call(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command], capture_output=True, text=True, timeout=100, check=False)


def test_a_recording_reaches_a_subscriber_and_the_summary_says_so(kit, endpoint):
    with subscriber(endpoint) as received:
        done = call(*run_command(kit, endpoint, "--allow-untrained", "--speed", "max", "--wait-for", "1", "--json"))
        received.finish()
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["published_windows"] == len(received.topic("window")) == 10
    assert summary["published_gestures"] == len(received.topic("gesture")) == 10
    labels = [message["label"] for message in received.topic("gesture")]
    assert summary["gestures"] == {"0": {label: labels.count(label) for label in set(labels)}}
    assert summary["dropped"] == {}
    assert summary["failure"] is None
    assert "UNTRAINED" in done.stderr


@pytest.mark.usefixtures("own_signals")
def test_a_configuration_does_the_same(kit, endpoint, tmp_path):
    config = tmp_path / "line.yaml"
    config.write_text(
        f"sources: [{{uri: {kit.recording}, speed: max}}]\n"
        f"anonymize: {{weights: {kit.anonymizer}, allow_untrained: true}}\n"
        f"publish: {{bind: '{endpoint}', wait_for: 1}}\n"
        "line: {run_as: threads}\n"
    )
    with subscriber(endpoint, "--topic", "window") as received:
        done = CliRunner().invoke(app, ["run", str(config)])
        received.finish()
    assert done.exit_code == 0, repr(done.exception)
    assert len(received.topic("window")) == 10
    assert received.topic("gesture") == []
    assert "published_windows" in done.stdout


@pytest.mark.parametrize(
    ("run_as", "number"),
    [
        ("processes", signal.SIGTERM),
        pytest.param("threads", signal.SIGINT, marks=pytest.mark.nightly),
        pytest.param("threads", signal.SIGTERM, marks=pytest.mark.nightly),
        pytest.param("processes", signal.SIGINT, marks=pytest.mark.nightly),
    ],
)
def test_a_signal_publishes_what_is_on_its_way_and_stops(kit, endpoint, number, run_as):
    options = ["--allow-untrained", "--speed", "0.1", "--wait-for", "1", "--json", "--set", f"line.run_as={run_as}"]
    with subscriber(endpoint) as received:
        pipeline = subprocess.Popen(
            run_command(kit, endpoint, *options), stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            assert pipeline.stdout is not None
            assert json.loads(pipeline.stdout.readline())["seconds"] >= 1  # it runs
            os.killpg(pipeline.pid, number)  # as a terminal and a service manager do it: the stages get it, too
            output, _ = pipeline.communicate(timeout=100)
        finally:
            pipeline.kill()
        received.finish()
    assert pipeline.returncode == 0
    summary = json.loads(output.splitlines()[-1])
    assert summary["stopped"] is True
    assert summary["published_windows"] == len(received.topic("window")) == summary["windows"]
    assert received.messages[-1]["state"] == "ended"


@pytest.mark.parametrize("run_as", [pytest.param("threads", marks=pytest.mark.nightly), "processes"])
def test_ctrl_c_before_anything_was_read_ends_cleanly(kit, endpoint, run_as):
    options = ["--allow-untrained", "--wait-for", "1", "--set", f"line.run_as={run_as}"]
    pipeline = subprocess.Popen(
        run_command(kit, endpoint, *options), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert pipeline.stderr is not None
        message = ""
        while "Ctrl-C stops" not in message:
            message = pipeline.stderr.readline()
        os.killpg(pipeline.pid, signal.SIGINT)
        _, message = pipeline.communicate(timeout=100)
    finally:
        pipeline.kill()
    assert pipeline.returncode == 0
    assert message == ""


def test_count_ends_a_subscriber_and_too_few_is_a_failure(kit, endpoint):
    with subscriber(endpoint, "--count", "3") as few, subscriber(endpoint, "--count", "1000") as many:
        status = Pipeline(kit.settings(endpoint, publish__wait_for=2, line__run_as="threads")).run()
        few.finish()
        many.finish()
    assert status.failure is None
    assert few.process.returncode == 0
    assert [len(few.topic(topic)) for topic in ("window", "gesture")] == [3, 3]
    assert many.process.returncode == 1


def refusal_of(command: list[str]) -> str:
    """Return the error that a command ends with, in this process: starting one takes seconds.

    `main` turns any such error into one line and status 2.
    """
    result = CliRunner().invoke(app, command[len(PROGRAM) :])
    assert isinstance(result.exception, EventVeilError), repr(result.exception)
    return str(result.exception)


@pytest.fixture
def own_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipeline that starts in this process leaves the signal handlers of pytest alone."""
    monkeypatch.setattr("eventveil.cli.run.on_signals", lambda stop: None)


def test_untrained_weights_are_refused(kit, endpoint):
    refusal = refusal_of(run_command(kit, endpoint))
    assert "untrained" in refusal
    assert "--allow-untrained" in refusal
    assert len(refusal.splitlines()) == 1


def test_a_pipeline_needs_weights(kit):
    assert "--weights" in refusal_of([*PROGRAM, "run", str(kit.recording), "--allow-untrained"])


@pytest.mark.parametrize("source", ["simulate:", "dvs-gesture:{}", "dvs-gesture:{}?split=test"])
def test_a_source_without_weights_says_what_to_add(tmp_path, source):
    dataset_makers.tonic(tmp_path, (("ibmGestureTrain", (1,)), ("ibmGestureTest", (24,))), classes=(0,))
    refused = CliRunner().invoke(app, ["run", source.format(tmp_path)])
    assert isinstance(refused.exception, ConfigError)
    assert "add --weights shipped (trained on simulated people only) or --weights FILE" in str(refused.exception)


@pytest.mark.parametrize("name", ["live", "replay"])
def test_a_configuration_of_the_package_is_taken_by_its_name(name):
    wrong = CliRunner().invoke(app, ["run", name, "--set", "line.queue=many"])
    assert isinstance(wrong.exception, ConfigError)
    assert f"{name}.yaml: line.queue: Input should be a valid integer" in str(wrong.exception)


def test_a_source_of_the_same_name_wins_over_a_configuration_of_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _config_path(["live"]).name == "live.yaml"
    assert _config_path(["mine.yaml"]) == Path("mine.yaml")
    for sources in (["live", "replay"], ["trial.aedat4"], ["simulate:"]):
        assert _config_path(sources) is None
    Path("replay").mkdir()  # as in a checkout
    assert _config_path(["replay"]).name == "replay.yaml"
    Path("live").touch()
    assert _config_path(["live"]) is None


def test_weights_for_other_windows_are_refused(kit, endpoint):
    assert "bins" in refusal_of(run_command(kit, endpoint, "--allow-untrained", "--set", "window.bins=7"))


def test_a_classifier_of_people_is_refused(kit, endpoint, tmp_path):
    weights = load_weights(kit.classifier)
    save_weights(tmp_path / "people", weights.model, weights.metadata.model_copy(update={"role": "identity"}))
    refusal = refusal_of(run_command(kit, endpoint, "--weights", str(tmp_path / "people")))
    assert "identity" in refusal


def test_a_seed_is_refused(kit, endpoint):
    refusal = refusal_of(run_command(kit, endpoint, "--set", "anonymize.seed=1"))
    assert "seed" in refusal


def test_a_missing_recording_ends_the_pipeline_with_its_name(kit, endpoint):
    command = [word.replace(str(kit.recording), "/no/such.aedat4") for word in run_command(kit, endpoint)]
    done = call(*command, "--allow-untrained", "--json")
    assert done.returncode == 2
    starting, refusal = done.stderr.splitlines()  # one line, without a traceback
    assert "starting" in starting
    assert "/no/such.aedat4" in refusal
    assert "publish" not in done.stderr  # sources are checked before anything that takes longer
    assert done.stdout == ""


@pytest.mark.usefixtures("own_signals")
def test_a_recording_without_geometry_says_how_to_state_it(kit, endpoint, tmp_path):
    events = tmp_path / "events.csv"
    events.write_text("t,x,y,p\n0,1,1,1\n")
    command = [word.replace(str(kit.recording), str(events)) for word in run_command(kit, endpoint)]
    assert "--sensor WxH" in refusal_of([*command, "--allow-untrained"])
    stated = CliRunner().invoke(app, [*command[len(PROGRAM) :], "--allow-untrained", "--sensor", "64x64"])
    assert stated.exit_code == 0, repr(stated.exception)


@pytest.mark.usefixtures("own_signals")
def test_an_address_in_use_says_so(kit):
    import zmq

    with zmq.Context() as context, context.socket(zmq.PUB) as other:
        port = other.bind_to_random_port("tcp://127.0.0.1")
        refusal = refusal_of(run_command(kit, f"tcp://127.0.0.1:{port}", "--allow-untrained"))
    assert f"127.0.0.1:{port}" in refusal


def test_a_subscriber_keeps_messages_and_refuses_what_is_not_an_endpoint(kit, endpoint, tmp_path):
    assert "tcp://HOST:PORT" in refusal_of([*PROGRAM, "subscribe", "somewhere"])
    heard_nothing = call(*PROGRAM, "subscribe", endpoint, "--timeout", "0.5", "--npz", str(tmp_path / "kept"))
    assert heard_nothing.returncode == 1
    assert "0 messages received" in heard_nothing.stderr
    assert Path(tmp_path / "kept").is_dir()


def test_output_off_a_terminal_holds_no_event_counts(capsys):
    """A service manager keeps this output in its log."""
    counts = dict.fromkeys(("received", "late", "outside", "saturated", "camera_read", "camera_late"), 7_654_321)
    omissions = {"event off the sensor": 7_654_321}
    source = StageReport(stage="histogram:0", kind="beat", counts=counts | {"windows": 9}, omissions=omissions)
    status = Status(seconds=1.0, stages={"histogram:0": source})
    Ticker()(status)
    print_summary(summary_of(status))
    written = "".join(capsys.readouterr())
    assert "windows" in written
    assert [line.split() for line in written.splitlines() if "omissions" in line] == [["omissions", "yes"]]
    assert "Mev/s" not in written
    assert "7654321" not in written.replace(",", "").replace(".", "")


def test_what_readers_left_out_is_in_the_summary(monkeypatch, capsys):
    stages = {
        f"histogram:{stream}": StageReport(stage=f"histogram:{stream}", kind="ended", omissions=omissions)
        for stream, omissions in (("a", {"event off the sensor": 1_000}), ("b", {"event off the sensor": 2, "[b]": 3}))
    }
    figures = summary_of(Status(seconds=1.0, stages=stages))
    assert figures["omissions"] == {"event off the sensor": 1_002, "[b]": 3}
    monkeypatch.setattr(stdout, "_force_terminal", True)
    print_summary(figures)
    assert "event off the sensor 1,002, [b] 3" in capsys.readouterr().out


def test_an_error_of_a_command_begins_with_its_name_once(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["eventveil", "run", "simulate:", "--set", "x.y=3"])
    monkeypatch.setattr("eventveil.cli.forbid_core_dumps", lambda: None)  # here it would be those of all tests
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("eventveil run: x: unknown key; ")


def test_no_address_is_announced_before_the_checks_of_the_others(kit, endpoint):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        metrics = f"127.0.0.1:{taken.getsockname()[1]}"
        command = run_command(kit, endpoint, "--allow-untrained", "--metrics", metrics)[len(PROGRAM) :]
        done = CliRunner().invoke(app, command)
    assert "Address already in use" in str(done.exception)
    assert "UNTRAINED" in done.stderr
    assert endpoint not in done.stderr


INTERRUPTED_IMPORT = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
import eventveil.cli
"""


def test_ctrl_c_during_the_imports_shows_no_traceback():
    done = call(sys.executable, "-c", INTERRUPTED_IMPORT)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")
