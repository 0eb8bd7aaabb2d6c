"""Ground truth: the supervisor knows it, and it never reaches the network.

A dataset with unusual names of a person and a gesture is played through a whole pipeline, with a subscriber to
everything. Both names must be found on the private side, or the test would prove nothing.
"""

from __future__ import annotations

import json
import re

import numpy as np
import pipeline_setup
import pytest
from dataset_makers import events_of, tonic_trial
from pipeline_setup import BIN_US, BINS, LABELS, SIZE, Kit, run_and_listen
from typer.testing import CliRunner

from eventveil.cli import app
from eventveil.errors import ConfigError
from eventveil.models import save_weights
from eventveil.models.kinds import initialise
from eventveil.models.metadata import Metadata
from eventveil.models.runtime import Classifier
from eventveil.replay.datasets import dvs_gesture
from eventveil.replay.player import sources
from eventveil.stream.runtime.accuracy import GroundTruth, LiveAccuracy

PERSON, GESTURE, LIGHT = "user8675309", "qwyjibo", "zanzibar"
NAMES = (PERSON, "8675309", GESTURE, LIGHT)
TRIAL_S = 0.5  # five windows


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return pipeline_setup.make_kit(tmp_path_factory.mktemp("kit"), seconds=0.1)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory):
    """Gestures 0, 1 and 10, each for half a second."""
    root = tmp_path_factory.mktemp("people")
    for target in (0, 1, 10):
        rows = events_of(target, 4_000, round(TRIAL_S * 1e6))
        rows[0, 0], rows[-1, 0] = 0, round(TRIAL_S * 1e6) - 1_000
        tonic_trial(root, f"ibmGestureTest/{PERSON}_{LIGHT}/{target}.npy", rows)
    return root


@pytest.fixture
def words(monkeypatch):
    """Give the dataset the classes of the kit's classifier, and one with a unique name."""
    classes = (*LABELS, *(f"gesture {k}" for k in range(3, 10)), GESTURE)
    monkeypatch.setattr(dvs_gesture, "GESTURES", classes)
    monkeypatch.setitem(sources.CLASSES, "dvs-gesture", classes)


@pytest.fixture
def notes(monkeypatch):
    """All notes that reach the supervisor."""
    all_notes = []
    take = LiveAccuracy.take
    monkeypatch.setattr(LiveAccuracy, "take", lambda self, new: (all_notes.extend(new), take(self, new)))
    return all_notes


def source(people, **more):
    return [{"uri": f"dvs-gesture:{people}", "speed": "max", "gap_s": 0.3} | more]


def test_the_truth_reaches_the_supervisor_and_never_the_network(kit, people, words, notes, capfd):
    status, published = run_and_listen(kit, sources=source(people))
    assert status.failure is None
    truths = [note for note in notes if isinstance(note, GroundTruth)]
    assert {note.subject for note in truths} == {PERSON}
    assert [(note.trial, note.label) for note in truths] == [
        *[(0, LABELS[0])] * 5, *[(1, LABELS[1])] * 5, *[(2, GESTURE)] * 5
    ]  # fmt: skip
    assert sum(message[0] == b"gesture" for message in published) > 10
    assert not [name for name in NAMES for message in published for frame in message if name.encode() in frame]
    written = "".join(capfd.readouterr()) + repr(status) + json.dumps(status.score.figures())
    assert not [name for name in NAMES if name in written]


def test_the_recognised_is_held_against_the_shown(kit, people, words, monkeypatch):
    """The classifier predicts "wave" from the fourth window on; trials last 0.5 s, with gaps of 0.3 s."""
    windows = []

    def predict(self, batch):
        windows.extend(batch)
        first = len(windows) - len(batch)
        return np.eye(len(LABELS), dtype=np.float32)[[0 if first + k < 3 else 1 for k in range(len(batch))]]

    monkeypatch.setattr(Classifier, "warm_up", lambda self, batch=1: None)
    monkeypatch.setattr(Classifier, "__call__", predict)
    # fp32, because `auto` would call the classifier to try bf16 where the processor has it.
    status, _ = run_and_listen(kit, sources=source(people), classify__precision="fp32")
    assert status.failure is None
    assert status.score.figures() == {
        "judged": 10,  # the classifier does not know the third gesture
        "right": 3 + 5,
        "accuracy": 0.8,
        "chance": pytest.approx(1 / 3, abs=1e-4),
        "people": 1,
        "trials": 2,
        "trials_right": 2,
        "first_right_s": pytest.approx(0.1, abs=0.002),  # a trial lasts 0.499 s: windows begin 1 ms into the second
    }


def test_what_a_classifier_does_not_know_is_remarked(kit, people, words):
    status, _ = run_and_listen(kit, sources=source(people))
    assert status.score is not None
    pipeline = pipeline_setup.Pipeline(kit.settings("ipc:///tmp/never", sources=source(people)))
    assert pipeline.plan.judged == ("0",)
    assert pipeline.plan.remarks[0].endswith(f"gesture 9, {GESTURE}: accuracy ignores these")


def test_without_a_word_in_common_there_is_no_accuracy(kit, people):
    pipeline = pipeline_setup.Pipeline(kit.settings("ipc:///tmp/never", sources=source(people)))
    assert pipeline.plan.judged == ()
    assert "knows none of its classes (hand clapping" in pipeline.plan.remarks[0]
    assert pipeline.status.score is None


def test_without_a_classifier_there_is_no_accuracy(kit, people):
    settings = kit.settings("ipc:///tmp/never", sources=source(people), classify__weights=None)
    assert pipeline_setup.Pipeline(settings).plan.remarks == (f"dvs-gesture:{people}: no classifier, so no accuracy",)


def test_an_error_in_a_trial_names_nobody(kit, people, tmp_path, words, capfd):
    root = tmp_path / "broken"
    for k, name in enumerate(("user01_led/0.npy", f"{PERSON}_{LIGHT}/1.npy")):
        rows = events_of(k, 100, 100_000)
        path = tonic_trial(root, f"ibmGestureTest/{name}", rows)
    table = np.load(path)
    table[50, 0] = 999  # beyond the sensor
    np.save(path, table)
    status, published = run_and_listen(kit, sources=source(root))
    assert status.failure is not None
    assert f"eventveil datasets check {root}" in status.failure
    assert not re.search("|".join(NAMES), "".join(capfd.readouterr()) + repr(status) + repr(published))
    checked = CliRunner().invoke(app, ["datasets", "check", str(root)])
    assert PERSON in checked.stderr  # the local check names the file


@pytest.mark.parametrize("run_as", ["threads", "processes"])
def test_the_command_tells_the_accuracy_and_nobody_else_the_truth(kit, people, tmp_path, monkeypatch, run_as):
    monkeypatch.setattr("eventveil.cli.run.on_signals", lambda stop: None)  # those of pytest stay as they are
    classifier = tmp_path / "gestures.safetensors"
    make_classifier(classifier)
    options = ["--allow-untrained", "--wait-for", "1", "--json", "--speed", "max", "--shuffle", "--seed", "3"]
    weights = ["--weights", str(kit.anonymizer), "--weights", str(classifier), "--set", f"line.run_as={run_as}"]
    with pipeline_setup.everything() as (endpoint, published):
        command = ["run", f"dvs-gesture:{people}", *options, *weights, "--set", f"publish.bind={endpoint}"]
        done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.stderr
    truth = json.loads(done.stdout.splitlines()[-1])["truth"]
    assert (truth["judged"], truth["people"], truth["trials"]) == (15, 1, 3)
    assert truth["chance"] == pytest.approx(1 / 11, abs=1e-4)
    assert 0 <= truth["right"] <= 15
    assert len([message for message in published if message[0] == b"gesture"]) >= 15
    private = [name.encode() for name in (PERSON, "8675309", LIGHT)]
    assert not [name for name in private for message in published for frame in message if name in frame]
    assert PERSON not in done.stdout + done.stderr.replace(str(people), "")


def test_whole_recordings_as_windows_refuse_what_plays_on(kit, people):
    for changes, message in (
        ({"uri": f"dvs-gesture:{people}"}, "plays as one continuous stream"),
        ({"uri": "simulate:"}, "plays as one continuous stream"),
        ({"uri": str(kit.recording), "loop": True}, "without a loop"),
    ):
        with pytest.raises(ConfigError, match=message):
            pipeline_setup.Pipeline(kit.settings("ipc:///tmp/never", sources=[changes], window__mode="recording"))


def test_real_trials_go_through_the_whole_pipeline_with_their_truth(kit, real_data, tmp_path):
    classifier = tmp_path / "gestures.safetensors"
    make_classifier(classifier)
    settings = {"sources": source(real_data / "dvs_gesture"), "classify__weights": str(classifier)}
    status, published = run_and_listen(kit, **settings)
    assert status.failure is None
    figures = status.score.figures()
    assert (figures["trials"], figures["people"]) == (10, 1)
    assert figures["judged"] in range(10 * 14, 10 * 16)  # trials of 1.45 s in windows of 0.1 s
    assert sum(message[0] == b"gesture" for message in published) >= figures["judged"]


def make_classifier(path):
    """An untrained classifier of the eleven gestures."""
    config = {"channels": 2 * BINS, "depth": 18, "width": 4, "embedding": 8, "classes": len(dvs_gesture.GESTURES)}
    model = initialise("resnet_classifier", config, seed=1)
    window = {"bins": BINS, "bin_us": BIN_US, "hop": BINS, "size": SIZE, "trained": False}
    save_weights(path, model, Metadata.of(model, role="target", labels=dvs_gesture.GESTURES, **window))
