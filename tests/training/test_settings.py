"""Settings of training: the shipped files contain and explain every key, and error messages name the key."""

from __future__ import annotations

import re
from functools import reduce
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from config_keys import every_key, keys_in
from small_trainings import values

from eventveil.config import checked, read_yaml
from eventveil.errors import ConfigError
from eventveil.training.settings import SimulateSettings, TrainSettings

SHIPPED = (
    "anonynoise_simulated",
    "dvs_gesture",
    "see",
    "event_reid",
    "event_reid_anonynoise",
    "event_reid_simulated",
    "noisy_channel",
    "simulated",
    "simulated_small",
)


def path_of(name):
    return Path(str(files("eventveil.configs") / "train" / f"{name}.yaml"))


def load(name, *overrides):
    return checked(TrainSettings, read_yaml(path_of(name), TrainSettings), overrides, name=name)


def test_there_is_an_adversary_to_restart():
    with pytest.raises(ConfigError, match="restart_every restarts adversaries, but there are 0"):
        load("noisy_channel", "adversarial.restart_every=5")


def complaint(*overrides, **changes):
    with pytest.raises(ConfigError) as caught:
        checked(TrainSettings, values("set", **changes), overrides, name="mine.yaml", example="attack.epochs=20")
    return str(caught.value)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_ready_configuration_loads_and_holds_every_key(name):
    content = read_yaml(path_of(name), TrainSettings)
    expected = set(every_key(TrainSettings))
    if content["data"]["simulate"] is None:
        expected = {key for key in expected if not key.startswith("data.simulate.")} | {"data.simulate"}
    assert set(keys_in(content)) == expected
    assert load(name).batch == (24 if name.startswith("event_reid") else 16 if name == "anonynoise_simulated" else 32)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_ready_configuration_explains_every_key_in_place(name):
    lines = path_of(name).read_text(encoding="utf-8").splitlines()
    keys = [line for line in lines if re.match(r"^ *\w+: +\S", line)]
    assert len(keys) >= 80
    assert [line for line in keys if "#" not in line] == []
    assert [line for line in lines if len(line) > 120] == []


@pytest.mark.parametrize("name", SHIPPED)
def test_the_brackets_tell_the_defaults(name):
    defaults = TrainSettings.model_validate({"data": {"root": "x"}, "window": {"bin_us": 1}}).model_dump(mode="json")
    defaults["data"]["root"] = defaults["window"]["bin_us"] = None
    defaults["data"]["simulate"] = SimulateSettings().model_dump(mode="json")
    parts, checked_keys = [], 0
    for line in path_of(name).read_text(encoding="utf-8").splitlines():
        if not (key := re.match(r"^( *)(\w+):", line)):
            continue
        parts = [*parts[: len(key[1]) // 2], key[2]]
        bracket = re.search(r"\[(\[.*\]|\{\}|[^\[\]]*)\]$", line)
        default = reduce(lambda content, part: content[part], parts, defaults)
        if isinstance(default, dict) and default:
            continue
        assert bracket, line
        documented = yaml.safe_load(bracket[1].split(":")[0])
        assert documented == default or (documented == "1/12" and default == 1 / 12), line
        checked_keys += 1
    assert checked_keys >= 80


def test_the_published_settings_are_those_of_the_paper():
    settings = load("dvs_gesture")
    assert (settings.batch, settings.optimizer) == (32, "adamw")
    assert (settings.window.mode, settings.window.bins, settings.window.size) == ("recording", 5, (128, 128))
    assert (settings.pretrain.epochs, settings.pretrain.lr, settings.pretrain.schedule) == (200, 1e-4, "cosine")
    adversarial = settings.adversarial
    anonymizer, helpers = adversarial.anonymizer, adversarial.helpers
    assert (adversarial.epochs, anonymizer.lr, anonymizer.schedule) == (300, 5e-4, "cosine")
    assert (helpers.lr, helpers.schedule, helpers.factor, helpers.step_epochs) == (1e-3, "step", 0.5, 100)
    assert (adversarial.objective.name, adversarial.helper_steps, adversarial.adversaries) == ("target-triplet", 1, 1)
    assert (settings.triplet.margin, settings.triplet.alone, adversarial.best_by) == (4, "keep", "last")
    assert (settings.attack.epochs, settings.attack.lr) == (200, 1e-4)
    assert (settings.augment.rotation_deg, settings.augment.mirror) == (15, False)
    assert (settings.target.depth, settings.target.width, settings.identity.embedding) == (50, 64, 512)


def test_overrides_reach_every_depth():
    settings = load("simulated_small", "adversarial.objective.weight=0.3", "attack.against=[raw, 'gaussian:2']")
    assert settings.adversarial.objective.weight == 0.3
    assert settings.attack.against == ("raw", "gaussian:2")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bath": 3}, "bath: unknown key; known here: seed, batch, people_per_batch, last_batch, optimizer, data, win"),
        ({"attack": {"epoch": 3}}, "attack.epoch: unknown key; known here: lr, schedule"),
        ({"adversarial": {"objective": {"wait": 3}}}, "adversarial.objective.wait: unknown key; known here: name, we"),
        ({"data": {"root": None}}, "data: expected root, the folder of a dataset, or simulate, to make one"),
        ({"window": {"bin_us": None}}, "window: mode recording divides the trial into its bins"),
        ({"window": {"mode": "recording"}}, "window: mode recording divides the trial into its bins"),
        ({"window": {"mode": "voxel", "straddle": 0.5}}, "window: only windows of mode windows can straddle"),
        ({"window": {"crop": "events"}}, "window: crop events, the box around a window's events, is for modes"),
        ({"people_per_batch": 3}, "people_per_batch: expected a number that divides the batch, got 3"),
        ({"attack": {"of": []}}, "attack.of: expected at least one entry and no duplicates, got []"),
        ({"pretrain": {"lr": float("inf")}}, "pretrain.lr: Input should be a finite number"),
        ({"run": {"device": "gpu"}}, "run.device: String should match pattern"),
    ],
)
def test_a_mistake_is_named_with_its_place(changes, words):
    assert complaint(**changes).startswith(f"mine.yaml: {words}")


def test_a_wrong_override_tells_of_one_that_is_right():
    assert complaint("attack.epochs") == "--set: expected key=value, for example attack.epochs=20, got 'attack.epochs'"
