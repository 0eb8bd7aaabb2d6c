"""The configuration of the stand-in: the shipped file contains every key, and its brackets give the defaults."""

from __future__ import annotations

import re
from functools import reduce
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from config_keys import every_key, keys_in

from eventveil.config import checked, read_yaml
from eventveil.errors import ConfigError
from eventveil.training.settings import SimulateSettings
from eventveil.training.stand_in.settings import StandInSettings

PATH = Path(str(files("eventveil.configs") / "train" / "stand_in.yaml"))


def load(*overrides):
    return checked(StandInSettings, read_yaml(PATH, StandInSettings), overrides, name="stand_in.yaml")


def test_the_ready_configuration_loads_and_holds_every_key():
    content = read_yaml(PATH, StandInSettings)
    content["shares"] = None  # its keys are names of classes
    assert set(keys_in(content)) == set(every_key(StandInSettings))
    assert load().data.simulate.visits


def test_the_brackets_tell_the_defaults():
    defaults = StandInSettings.model_validate({"data": {"root": "x"}}).model_dump(mode="json")
    defaults["data"] |= {"root": None, "simulate": SimulateSettings().model_dump(mode="json")}
    parts = []
    for line in PATH.read_text(encoding="utf-8").splitlines():
        assert len(line) <= 120
        if not (key := re.match(r"^( *)(\w+):", line)):
            continue
        parts = [*parts[: len(key[1]) // 2], key[2]]
        default = reduce(lambda content, part: content[part], parts, defaults)
        if isinstance(default, dict) and default:
            continue
        bracket = re.search(r"\[(\[.*\]|\{\}|[^\[\]]*)\]$", line)
        assert bracket, line
        assert yaml.safe_load(bracket[1].split(":")[0]) == default, line


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("window.offsets=3", "offsets|rows"),
        ("window.label_before_us=10000", "label_before_us"),
        ("window.label_before_us=1000000", "label_before_us"),
        ("variation.rate=[3, 1]", "rate"),
        ("variation.size=[2, 1]", "size"),
        ("variation.slight=2", "slight"),
        ("rule.threshold=1", "threshold"),
        ("windows_per_epoch=10", "windows_per_epoch"),
        ("run.precision=fp16", "precision"),
        ("variation.beside=2", "beside"),
        ("rule.treshold=0.5", "treshold"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(override, what):
    with pytest.raises(ConfigError, match=what):
        load(override)
