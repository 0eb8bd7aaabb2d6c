"""Windows that differ far from those of the training are reported once, and in the status."""

from __future__ import annotations

import json

import pipeline_setup
import pytest
from typer.testing import CliRunner

from eventveil.cli import app
from eventveil.models import load_weights, save_weights
from eventveil.models.metadata import TrainedScene
from eventveil.stream.histogram.density import MIN_WINDOWS, WINDOWS, DensityMeter, training_mismatch

TRAINED = (30.0, 60.0, 120.0)


@pytest.mark.parametrize(
    ("median", "maximum", "words"),
    [
        (60.0, 90.0, None),
        (0.0, 11.0, None),  # mostly no motion; windows with motion resembled the training
        (0.0, 9.9, "far fewer"),
        (350.0, 900.0, None),
        (361.0, 400.0, "far more"),
        (None, None, None),
    ],
)
def test_far_is_three_times_beyond_what_nearly_all_windows_had(median, maximum, words):
    mismatch = training_mismatch(TRAINED, median, maximum)
    assert mismatch is None if words is None else mismatch.startswith(words)


def test_weights_that_do_not_tell_are_not_held_to_anything():
    assert training_mismatch(None, 1e6, 1e6) is None


def test_the_meter_looks_back_on_the_latest_windows():
    meter = DensityMeter(pixels=10)
    for _ in range(MIN_WINDOWS - 1):
        meter.add(1000)
    assert meter.values() == {"density": None, "density_most": None}
    meter.add(1000)
    assert meter.values() == {"density": 100.0, "density_most": 100.0}
    for _ in range(WINDOWS - 2):
        meter.add(20)
    assert meter.values() == {"density": 2.0, "density_most": 100.0}
    meter.add(20)
    meter.add(20)
    assert meter.values() == {"density": 2.0, "density_most": 2.0}


def test_a_running_pipeline_says_so_once_and_in_its_status(tmp_path, monkeypatch):
    monkeypatch.setattr("eventveil.cli.run.on_signals", lambda stop: None)  # those of pytest stay as they are
    kit = pipeline_setup.make_kit(tmp_path, seconds=3.0)
    weights = load_weights(kit.anonymizer)
    scene = TrainedScene(field=(64, 64), density=(1000, 2000, 3000))
    save_weights(kit.anonymizer, weights.model, weights.metadata.model_copy(update={"scene": scene}))
    command = [
        "run", str(kit.recording), "--weights", str(kit.anonymizer), "--allow-untrained",
        "--set", f"publish.bind=ipc://{tmp_path}/public", "--set", "line.run_as=threads",
    ]  # fmt: skip
    plain = CliRunner().invoke(app, command)
    assert plain.stderr.count("stream 0: far fewer events than in training") == 1
    as_json = CliRunner().invoke(app, [*command, "--json"])
    last = json.loads(as_json.stdout.splitlines()[-1])
    assert last["far_from_training"]["0"].startswith("far fewer")
    assert last["stages"]["histogram:0"]["values"]["density"] > 0
