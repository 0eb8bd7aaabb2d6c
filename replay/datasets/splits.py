"""Splits by person: nobody is trained on who is tested on.

A split is written to a file, which belongs beside the figures that were got with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from eventveil.errors import DatasetError
from eventveil.files import write_atomic
from eventveil.replay.datasets.trials import Dataset


@dataclass(frozen=True)
class Split:
    """Who is where.

    Attributes:
        seed: what it was drawn with.
        people: the people of each part, sorted, by the name of the part: "train", "test", ...

    Raises:
        DatasetError: a person stands in two parts.
    """

    seed: int
    people: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        sides: dict[str, str] = {}
        for part, people in self.people.items():
            for person in people:
                if person in sides:
                    raise DatasetError(f"person {person} stands in the split twice, in {sides[person]} and in {part}")
                sides[person] = part

    def save(self, path: Path) -> None:
        """Write the split as JSON."""
        write_atomic(path, (json.dumps(asdict(self), indent=2) + "\n").encode())

    def apply(self, dataset: Dataset) -> Dataset:
        """Return the dataset with the trials of this split, in its parts; trials of other people are left out.

        Raises:
            DatasetError: the dataset has no such person.
        """
        unknown = sorted({person for people in self.people.values() for person in people} - set(dataset.subjects))
        if unknown:
            raise DatasetError(f"{dataset.root}: the split names people who are not there: {', '.join(unknown)}")
        sides = {person: part for part, people in self.people.items() for person in people}
        trials = (replace(trial, split=sides[trial.subject]) for trial in dataset.trials if trial.subject in sides)
        return replace(dataset, trials=tuple(trials))


def split_by_person(dataset: Dataset, counts: Mapping[str, int], seed: int) -> Split:
    """Draw people for each part.

    The order is that of a digest of seed and name, so the same seed gives the same split on every machine and with
    every version of every library.

    Args:
        dataset: whose people are split; its own split, if it has one, is set aside.
        counts: how many people each part gets, as in `{"train": 20, "test": 9}`. Who is left over is in no part.
        seed: any whole number.

    Raises:
        DatasetError: a part would be empty, or there are not enough people.
    """
    wanted = sum(counts.values())
    if not counts or min(counts.values()) < 1 or wanted > len(dataset.subjects):
        raise DatasetError(
            f"{dataset.root}: expected parts of one person or more, {len(dataset.subjects)} in all, got {dict(counts)}"
        )
    drawn = iter(sorted(dataset.subjects, key=lambda person: hashlib.sha256(f"{seed}/{person}".encode()).digest()))
    return Split(seed, {part: tuple(sorted(next(drawn) for _ in range(count))) for part, count in counts.items()})


def load_split(path: Path) -> Split:
    """Read a split that was saved.

    Raises:
        DatasetError: there is no such file, it holds no split, or a person stands in two parts.
    """
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        seed, people = held["seed"], {part: tuple(names) for part, names in held["people"].items()}
    except OSError as error:
        raise DatasetError(f"{path}: the split cannot be read: {error.strerror}; check the path") from error
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DatasetError(f"{path}: expected a split as JSON: a seed, and people by part; make it again") from None
    if not isinstance(seed, int) or not all(isinstance(name, str) for names in people.values() for name in names):
        raise DatasetError(f"{path}: expected a whole number as seed and names as text; make the split again")
    return Split(seed, people)
