"""Query and gallery: the two sides of a test for identity.

For each query the gallery is searched for the same person. The papers take as queries one trial of each test person
and each class (AnonyNoise on DVS128 Gesture and SEE) or each camera (Event-ReId); all others are the gallery. When
neighbours are ranked, gallery trials of the same person and the same class or camera are to be left out.

Their lists are published, and differ in form: `user26 7 /ibmGestureTest/user26_natural/10.npy`,
`test/001_c1_060.txt 001`, `020_c2_066.txt`. What they have in common is that one word of a line names a trial. Those of
SEE stand in one file of JSON.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from eventveil.errors import DatasetError
from eventveil.replay.datasets.listing import lines_of
from eventveil.replay.datasets.trials import Dataset, Trial


class QueryGallery(NamedTuple):
    """Queries, and the gallery that is searched for each."""

    query: tuple[Trial, ...]
    gallery: tuple[Trial, ...]


def draw_retrieval(trials: Iterable[Trial], seed: int) -> QueryGallery:
    """Draw one query per person and class, or per person and camera where there are no classes.

    The draw is that of a digest of seed and name: the same on every machine.

    Args:
        trials: of test people, as from `Dataset.of("test")`.
        seed: any whole number.

    Raises:
        DatasetError: nothing is left for the gallery.
    """
    alike: defaultdict[tuple[str, str], list[Trial]] = defaultdict(list)
    trials = tuple(trials)
    for trial in trials:
        alike[trial.subject, trial.label or trial.session].append(trial)
    drawn = {min(group, key=lambda trial: _digest(seed, trial)).name for group in alike.values()}
    return _part(trials, drawn)


def read_retrieval(
    dataset: Dataset, queries: Path, gallery: Path | None = None, *, split: str = "test"
) -> QueryGallery:
    """Take queries, and gallery if there is a list of it, from given lists; a trial that is named twice counts once.

    Args:
        dataset: that the lists belong to.
        queries: a list with a trial to a line; or JSON, with rows of a `filename` under "query".
        gallery: another, or JSON with rows under "gallery"; without one, all other trials of the split are the gallery.
        split: that the trials are of.

    Raises:
        DatasetError: a list is missing, a line names no trial of the split or more than one, a trial is on both lists,
            or one of the two is empty.
    """
    trials = dataset.of(split)
    asked = _named(trials, queries, "query")
    if gallery is None:
        return _part(trials, asked)
    kept = _named(trials, gallery, "gallery")
    both = sorted(asked & kept)
    if both:
        raise DatasetError(f"{gallery}: {both[0]} is on the list of queries, too; a query must not find itself")
    return _part(tuple(trial for trial in trials if trial.name in asked | kept), asked)


def _digest(seed: int, trial: Trial) -> bytes:
    return hashlib.sha256(f"{seed}/{trial.name}".encode()).digest()


def _part(trials: tuple[Trial, ...], asked: set[str]) -> QueryGallery:
    query = tuple(trial for trial in trials if trial.name in asked)
    gallery = tuple(trial for trial in trials if trial.name not in asked)
    if not query or not gallery:
        raise DatasetError(
            f"expected queries and a gallery, got {len(query)} and {len(gallery)} trials; "
            "a person needs two trials of a class, or of a camera"
        )
    return QueryGallery(query, gallery)


def _named(trials: tuple[Trial, ...], path: Path, side: str) -> set[str]:
    """Return the names of the trials on a list."""
    known: defaultdict[str, set[str]] = defaultdict(set)  # by full name, and by the last part of it
    for trial in trials:
        known[trial.name].add(trial.name)
        known[trial.name.rpartition("/")[2]].add(trial.name)
    names = set()
    for number, line in _json_rows(path, side) if path.suffix == ".json" else lines_of(path, "a list of trials"):
        found = [known[word.strip("/")] for word in line.split() if word.strip("/") in known]
        if len(found) != 1 or len(found[0]) != 1:
            raise DatasetError(
                f"{path}, row {number}: expected the name of one trial, as {trials[0].name}, got {line!r}"
            )
        names |= found[0]
    return names


def _json_rows(path: Path, side: str) -> Iterator[tuple[int, str]]:
    text = " ".join(line for _, line in lines_of(path, "a list of trials"))
    try:
        rows = [str(row["filename"]) for row in json.loads(text)[side]]
    except (ValueError, KeyError, TypeError):
        raise DatasetError(f"{path}: expected rows with a filename under {side!r}; fetch the list again") from None
    return iter(enumerate(rows, 1))
