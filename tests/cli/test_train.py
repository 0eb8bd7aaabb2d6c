"""`eventveil train` as users run it: messages, results and exit statuses."""

from __future__ import annotations

import json
import sys

import pytest
import yaml
from dataset_makers import reid, tonic
from small_trainings import Silent, planted, settings, values, watch
from typer.testing import CliRunner

from eventveil.cli import app
from eventveil.errors import ConfigError, EventVeilError
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.recipe import Recipe


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return planted(tmp_path_factory.mktemp("planted"))


def train(folder, stage, config_values, *options):
    """Run the command in this process: one of its own takes seconds to start."""
    config = folder / "mine.yaml"
    config.write_text(yaml.safe_dump(config_values))
    return CliRunner().invoke(app, ["train", stage, str(config), *options])


def complaint(folder, stage, config_values):
    """Return the message of the error that a command ends with."""
    error = train(folder, stage, config_values, "--out", str(folder / "run")).exception
    assert isinstance(error, EventVeilError), repr(error)
    return str(error)


def quick(root, **changes):
    attack = {"epochs": 1, "against": ["discard:0.5"]}
    return values(root, **{"pretrain": {"epochs": 1}, "adversarial": {"epochs": 1}, "attack": attack} | changes)


@pytest.mark.parametrize("stage", ["pretrain", "adversarial", "attack", "all"])
def test_a_configuration_of_the_package_is_taken_by_its_name(stage):
    wrong = CliRunner().invoke(app, ["train", stage, "simulated_small", "--set", "attack.epochs=many"])
    assert isinstance(wrong.exception, ConfigError)
    assert "train/simulated_small.yaml: attack.epochs: Input should be a valid integer" in str(wrong.exception)
    unknown = CliRunner().invoke(app, ["train", stage, "simulated_smal"])
    assert "simulated_smal: unknown configuration; expected anonynoise_simulated, " in str(unknown.exception)


def test_an_attack_prints_json_for_machines_and_a_table_for_people(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    done = train(tmp_path, "attack", quick(root), "--json", "--set", "attack.of=[identity]")
    assert done.exit_code == 0, done.stderr
    (line,) = done.stdout.splitlines()
    output = json.loads(line)
    assert output["run"] == "runs/mine"
    assert set(output["results"]["discard-0.5"]["identity"]["rank1"]) == {"value", "interval_95", "chance"}
    assert "attack/discard-0.5/identity  epoch 1/1" in done.stderr
    again = train(tmp_path, "attack", quick(root), "--resume", "--set", "attack.of=[identity]")
    assert again.exit_code == 0, again.exception
    assert "discard-0.5" in again.stdout
    assert "chance" in again.stdout
    assert "epoch 1/1" not in again.stderr  # it is complete: test people are evaluated only once


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"attack": {"against": ["gaussian"]}},
            "attack.against: expected anonymizer, raw, scramble, polarity, gaussian:N",
        ),
        ({"attack": {"against": ["discard:2"]}}, "attack.against: 'discard:2': the number of discard is out of range"),
        (
            {"adversarial": {"objective": {"name": "x"}}},
            "adversarial.objective.name: expected target-triplet, uniform, ",
        ),
        ({"adversarial": {"objective": {"name": "structure-picture"}}}, "adversarial.reconstruction: the objective"),
        ({"adversarial": {"adversaries": 0}}, "adversarial.adversaries: the objective uniform needs at least one"),
        ({"batch": 64}, "batch: 24 training windows do not fill a batch of 64"),
        ({"data": {"val_people": 5}}, "leave 1 for training, but at least two are needed"),
        ({"run": {"precision": "bf16"}}, "run.precision: "),  # narrow windows, or a CPU without bf16
        ({"target": {"embedding": 70_000}}, "target: embedding: Input should be less than or equal to 65536"),
    ],
)
def test_settings_that_contradict_each_other_are_reported_in_a_line(root, tmp_path, changes, words):
    assert words in complaint(tmp_path, "pretrain", quick(root, **changes))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"kind": "resnet_classifier"}, "anonymizer.kind: expected anonynoise"),
        ({"kind": "event_autoencoder"}, "anonymizer.kind: event_autoencoder takes no histogram windows"),
        ({"config": {"noise": 3}}, "anonymizer.config: noise: Unexpected keyword argument"),
    ],
)
def test_an_anonymizer_that_cannot_be_built_is_reported(root, tmp_path, config, words):
    config_values = quick(root, anonymizer=config, adversarial={"from_pretrained": False})
    assert words in complaint(tmp_path, "adversarial", config_values)


def test_a_dataset_that_does_not_fit_is_reported(tmp_path):
    missing = complaint(tmp_path, "pretrain", quick(tmp_path / "nothing"))
    assert "expected the folder of a dataset, but there is no folder" in missing
    tests_only = tonic(tmp_path / "tests", people=(("ibmGestureTest", (24, 25)),), classes=range(2))
    assert "set data.test_people, or give a list as data.split" in complaint(tmp_path, "pretrain", quick(tests_only))
    without_classes = quick(reid(tmp_path / "reid", ("001", "003", "004", "005")), data={"val_people": 1})
    assert "adversarial.keep: event-reid has no classes to keep" in complaint(tmp_path, "pretrain", without_classes)


@pytest.mark.parametrize(("key", "package"), [("tensorboard", "tensorboardX"), ("pictures", "matplotlib")])
def test_a_missing_package_is_reported_before_anyone_is_simulated(tmp_path, monkeypatch, key, package):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    train_settings = settings(None, data={"root": None, "simulate": {"subjects": 4}}, run={key: True})
    with pytest.raises(ConfigError, match=rf"run\.{key}: {package} is not installed; pip install"):
        Recipe(train_settings, tmp_path / "run", ProcessGroup(), Silent(), watch)
    assert not list(tmp_path.iterdir())


def test_a_set_is_simulated_on_the_way(tmp_path):
    config_values = quick(None, batch=4)
    config_values["data"] = {"simulate": {"subjects": 4, "sessions": 2, "seconds": 0.1}, "val_people": 1, "workers": 1}
    done = train(tmp_path, "pretrain", config_values, "--out", str(tmp_path / "run"))
    assert done.exit_code == 0, done.exception
    assert len(list((tmp_path / "run" / "data").rglob("*.npy"))) == 88
    assert (tmp_path / "run" / "pretrain" / "target" / "best.pt").exists()
