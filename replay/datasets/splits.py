"""Splits by person, so that training and test people never overlap.

A split is saved to a file, to be kept with the results that it led to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from eventveil.errors import DatasetError
from eventveil.host.files import write_atomic
from eventveil.replay.datasets.trials import Dataset


@dataclass(frozen=True)
class Split:
    """The people of each part of a split.

    Attributes:
        seed: the seed it was drawn with.
        people: the people of each part, sorted, by the name of the part: "train", "test", ...

    Raises:
        DatasetError: a person is in two parts.
    """

    seed: int
    people: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        parts: dict[str, str] = {}
        for part, people in self.people.items():
            for person in people:
                if person in parts:
                    raise DatasetError(
                        f"person {person} is in the split twice, in {parts[person]} and in {part}; leave one out"
                    )
                parts[person] = part

    def save(self, path: Path) -> None:
        """Write the split as JSON; an existing file is replaced.

        Raises:
            OSError: it cannot be written.
        """
        write_atomic(path, (json.dumps(asdict(self), indent=2) + "\n").encode())

    def apply(self, dataset: Dataset) -> Dataset:
        """Return the dataset with this split; trials of people in no part are left out.

        Raises:
            DatasetError: the dataset has no such person.
        """
        unknown = sorted({person for people in self.people.values() for person in people} - set(dataset.subjects))
        if unknown:
            raise DatasetError(
                f"{dataset.root}: the split names people who are not there: {', '.join(unknown)}; make a split of this "
                "dataset"
            )
        parts = {person: part for part, people in self.people.items() for person in people}
        trials = (replace(trial, split=parts[trial.subject]) for trial in dataset.trials if trial.subject in parts)
        return replace(dataset, trials=tuple(trials))


def split_by_person(dataset: Dataset, counts: Mapping[str, int], seed: int) -> Split:
    """Draw people for each part.

    People are ordered by a digest of seed and name, so the same seed gives the same split on every machine and with
    every version of every library.

    Args:
        dataset: its people are split; its own split, if it has one, is ignored.
        counts: how many people each part gets, as in `{"train": 20, "test": 9}`. The remaining people are in no part.
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
    """Read a saved split.

    Raises:
        DatasetError: there is no such file, it holds no split, or a person is in two parts.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        seed, people = content["seed"], {part: tuple(names) for part, names in content["people"].items()}
    except OSError as error:
        raise DatasetError(f"{path}: the split cannot be read: {error.strerror}; check the path") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DatasetError(f"{path}: expected a split as JSON: a seed, and people by part; make it again") from None
    if not isinstance(seed, int) or not all(isinstance(name, str) for names in people.values() for name in names):
        raise DatasetError(f"{path}: expected a whole number as seed and names as text; make the split again")
    return Split(seed, people)
