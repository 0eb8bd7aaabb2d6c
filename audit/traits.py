"""What is known of people beside who they are: of simulated ones glasses and height, of all trials the light.

Real datasets tell the lighting or the camera; `simulated.json` in a folder tells the numbers that its people were drawn
from, and so all about them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eventveil.replay.datasets.trials import Dataset, Trial
from eventveil.replay.simulation.dataset import RECIPE
from eventveil.replay.simulation.person import Person

SUBJECT = re.compile(r"user(\d+)")
PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Trait:
    """One thing that may be told of a trial.

    Attributes:
        name: of the trait.
        classes: what it may be.
        of: the class of each trial, by the trial's name.
    """

    name: str
    classes: tuple[str, ...]
    of: Mapping[str, int]


def is_simulated(root: Path) -> bool:
    """Whether the people in a folder are simulated ones."""
    return (root / RECIPE).is_file()


def traits_of(dataset: Dataset) -> list[Trait]:
    """All traits of which people in training and people for tests have at least two classes, the same ones.

    Args:
        dataset: in parts train, val and test.
    """
    trials = [trial for part in PARTS for trial in dataset.of(part)]
    lit = all(trial.lighting is not None for trial in trials)
    found = {"light" if lit else "session": {trial.name: trial.lighting or trial.session for trial in trials}}
    if is_simulated(dataset.root):
        found |= _of_simulated(dataset, trials)
    traits = []
    for name, told in found.items():
        classes = tuple(sorted({told[trial.name] for trial in dataset.of("train")}))
        tested = {told[trial.name] for trial in dataset.of("test")}
        if len(tested & set(classes)) > 1 and all(told[trial.name] in classes for trial in trials):
            traits.append(Trait(name, classes, {trial: classes.index(what) for trial, what in told.items()}))
    return traits


def _of_simulated(dataset: Dataset, trials: list[Trial]) -> dict[str, dict[str, str]]:
    seed = int(json.loads((dataset.root / RECIPE).read_text("utf-8"))["seed"])
    people = {}
    for name in {trial.subject for trial in trials}:
        number = SUBJECT.fullmatch(name)
        if number is None:  # somebody else was put into the folder, of whom nothing is known
            return {}
        people[name] = Person.drawn(seed, int(number[1]))
    middle = float(np.median([_height(people[name]) for name in {trial.subject for trial in dataset.of("train")}]))
    return {
        "glasses": {trial.name: ("none", "glasses")[people[trial.subject].glasses] for trial in trials},
        "height": {trial.name: ("short", "tall")[_height(people[trial.subject]) > middle] for trial in trials},
    }


def _height(person: Person) -> float:
    """Of what is seen: the camera shows people from the hips up."""
    return person.torso + person.head_height
