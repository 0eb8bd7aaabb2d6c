"""Known traits besides identity: glasses, height, hand and tempo of simulated people, and the light of all trials.

Real datasets name the lighting or the camera. `simulated.json` in a folder holds the seed of its simulated people, and
so determines everything about them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from eventveil.replay.datasets.trials import Dataset, Trial
from eventveil.replay.simulation.looks import look_named
from eventveil.replay.simulation.person import Person
from eventveil.replay.simulation.recipe import is_simulated, read_recipe

SUBJECT = re.compile(r"user(\d+)")
PLAIN = "plain"  # the look of people whose set names none
PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Trait:
    """A trait that can be predicted from a trial.

    Attributes:
        name: name of the trait.
        classes: its possible values.
        of: the class of each trial, by the trial's name.
    """

    name: str
    classes: tuple[str, ...]
    of: Mapping[str, int]


def traits_of(dataset: Dataset) -> list[Trait]:
    """Return the traits of which training and test people share at least two classes.

    Args:
        dataset: in parts train, val and test.
    """
    trials = [trial for part in PARTS for trial in dataset.of(part)]
    lit = all(trial.lighting is not None for trial in trials)
    values = {"light" if lit else "session": {trial.name: trial.lighting or trial.session for trial in trials}}
    if is_simulated(dataset.root):
        values |= _of_simulated(dataset, trials)
    traits = []
    for name, by_trial in values.items():
        classes = tuple(sorted({by_trial[trial.name] for trial in dataset.of("train")}))
        tested = {by_trial[trial.name] for trial in dataset.of("test")}
        if len(tested & set(classes)) > 1 and all(by_trial[trial.name] in classes for trial in trials):
            traits.append(Trait(name, classes, {trial: classes.index(value) for trial, value in by_trial.items()}))
    return traits


def _of_simulated(dataset: Dataset, trials: list[Trial]) -> dict[str, dict[str, str]]:
    recipe = read_recipe(dataset.root)
    options = recipe.get("sequences", recipe)
    if "seed" not in options:  # scenes without people
        return {}
    seed, looks = int(options["seed"]), [look_named(name) for name in str(options.get("look", PLAIN)).split(",")]
    people = {}
    for name in {trial.subject for trial in trials}:
        number = SUBJECT.fullmatch(name)
        if number is None:  # a person who is not simulated was added, with unknown traits
            return {}
        people[name] = looks[(int(number[1]) - 1) % len(looks)].person(seed, int(number[1]))
    known = [people[name] for name in {trial.subject for trial in dataset.of("train")}]
    tallness, tempo = (float(np.median([of(person) for person in known])) for of in (_height, _tempo))
    traits: dict[str, Callable[[Person], str]] = {
        "glasses": lambda person: "glasses" if person.glasses else "none",
        "height": lambda person: "tall" if _height(person) > tallness else "short",
        "hand": lambda person: "left" if person.left_handed else "right",
        "tempo": lambda person: "fast" if _tempo(person) > tempo else "slow",
    }
    return {name: {trial.name: of(people[trial.subject]) for trial in trials} for name, of in traits.items()}


def _height(person: Person) -> float:
    """Return the visible height: the camera shows people from the hips up."""
    return person.torso + person.head_height


def _tempo(person: Person) -> float:
    return person.tempo
