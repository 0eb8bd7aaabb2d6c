"""Settings of training: the ready files hold and explain every key, and a mistake names its place."""

from __future__ import annotations

import re
from functools import reduce
from importlib.resources import files
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel
from small_trainings import values

from eventveil.config import checked, read_yaml
from eventveil.errors import ConfigError
from eventveil.training.settings import SimulateSettings, TrainSettings

READY = ("dvs_gesture", "see", "event_reid", "noisy_channel", "simulated", "simulated_small")


def path_of(name):
    return Path(str(files("eventveil.configs") / "train" / f"{name}.yaml"))


def load(name, *overrides):
    return checked(TrainSettings, read_yaml(path_of(name), TrainSettings), overrides, name=name)


def complaint(*overrides, **changes):
    with pytest.raises(ConfigError) as caught:
        checked(TrainSettings, values("set", **changes), overrides, name="mine.yaml", example="attack.epochs=20")
    return str(caught.value)


def every_key(model, place=""):
    for name, field in model.model_fields.items():
        inner = [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)]
        models = [kind for kind in inner if issubclass(kind, BaseModel)]
        yield from every_key(models[0], f"{place}{name}.") if models else [f"{place}{name}"]


def keys_in(held, place=""):
    for name, value in held.items():
        yield from keys_in(value, f"{place}{name}.") if isinstance(value, dict) and value else [f"{place}{name}"]


@pytest.mark.parametrize("name", READY)
def test_a_ready_configuration_loads_and_holds_every_key(name):
    held = read_yaml(path_of(name), TrainSettings)
    wanted = set(every_key(TrainSettings))
    if held["data"]["simulate"] is None:
        wanted = {key for key in wanted if not key.startswith("data.simulate.")} | {"data.simulate"}
    assert set(keys_in(held)) == wanted
    assert load(name).batch == 32


@pytest.mark.parametrize("name", READY)
def test_a_ready_configuration_explains_every_key_in_place(name):
    lines = path_of(name).read_text(encoding="utf-8").splitlines()
    keys = [line for line in lines if re.match(r"^ *\w+: +\S", line)]
    assert len(keys) >= 80
    assert [line for line in keys if "#" not in line] == []
    assert [line for line in lines if len(line) > 120] == []


@pytest.mark.parametrize("name", READY)
def test_the_brackets_tell_the_defaults(name):
    plain = TrainSettings.model_validate({"data": {"root": "x"}, "window": {"bin_us": 1}}).model_dump(mode="json")
    plain["data"]["root"] = plain["window"]["bin_us"] = None
    plain["data"]["simulate"] = SimulateSettings().model_dump()
    place, told = [], 0
    for line in path_of(name).read_text(encoding="utf-8").splitlines():
        if not (key := re.match(r"^( *)(\w+):", line)):
            continue
        place = [*place[: len(key[1]) // 2], key[2]]
        bracket = re.search(r"\[(\[.*\]|\{\}|[^\[\]]*)\]$", line)
        default = reduce(lambda held, part: held[part], place, plain)
        if isinstance(default, dict) and default:
            continue
        assert bracket, line
        said = yaml.safe_load(bracket[1].split(":")[0])
        assert said == default or (said == "1/12" and default == 1 / 12), line
        told += 1
    assert told >= 80


def test_the_published_settings_are_those_of_the_paper():
    held = load("dvs_gesture")
    assert (held.batch, held.optimizer, held.window.mode, held.window.bins) == (32, "adamw", "recording", 5)
    assert held.window.size == (128, 128)
    assert (held.pretrain.epochs, held.pretrain.lr, held.pretrain.schedule) == (200, 1e-4, "cosine")
    own = held.adversarial
    assert (own.epochs, own.anonymizer.lr, own.anonymizer.schedule) == (300, 5e-4, "cosine")
    helpers = own.helpers
    assert (helpers.lr, helpers.schedule, helpers.factor, helpers.step_epochs) == (1e-3, "step", 0.5, 100)
    assert (own.objective.name, own.helper_steps, own.adversaries, held.triplet.margin) == ("target-triplet", 1, 1, 4)
    assert (held.attack.epochs, held.attack.lr) == (200, 1e-4)
    assert (held.augment.rotation_deg, held.augment.mirror) == (15, False)
    assert (held.target.depth, held.target.width, held.identity.embedding) == (50, 64, 512)


def test_overrides_reach_every_depth():
    held = load("simulated_small", "adversarial.objective.weight=0.3", "attack.against=[raw, 'gaussian:2']")
    assert held.adversarial.objective.weight == 0.3
    assert held.attack.against == ("raw", "gaussian:2")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bath": 3}, "bath: unknown key; known here: seed, batch, people_per_batch, optimizer, data, window"),
        ({"attack": {"epoch": 3}}, "attack.epoch: unknown key; known here: lr, schedule"),
        ({"adversarial": {"objective": {"wait": 3}}}, "adversarial.objective.wait: unknown key; known here: name, we"),
        ({"data": {"root": None}}, "data: expected root, the folder of a dataset, or simulate, to make one"),
        ({"window": {"bin_us": None}}, "window: mode recording divides the trial into its bins"),
        ({"window": {"mode": "recording"}}, "window: mode recording divides the trial into its bins"),
        ({"window": {"mode": "voxel", "straddle": 0.5}}, "window: only windows of mode windows can straddle"),
        ({"window": {"crop": "events"}}, "window: crop events, the box around a trial's events, is for mode voxel"),
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
