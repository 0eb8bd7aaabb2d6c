"""Query and gallery: the two sets of a re-identification test.

For each query, the gallery is searched for the same person. The papers use as queries one trial per test person and
class (AnonyNoise on DVS128 Gesture and SEE) or per test person and camera (Event-ReId); all others are the gallery.
Rankings must leave out gallery trials of the same person and the same class or camera.

Their published lists differ in form: `user26 7 /ibmGestureTest/user26_natural/10.npy`, `test/001_c1_060.txt 001`,
`020_c2_066.txt`. In each, one word of a line names a trial. The lists of SEE are one JSON file.
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
    """Queries, and the gallery to search for each."""

    query: tuple[Trial, ...]
    gallery: tuple[Trial, ...]


def draw_retrieval(trials: Iterable[Trial], seed: int) -> QueryGallery:
    """Draw one query per person and class, or per person and camera where there are no classes.

    The draw follows a digest of seed and name, so it is the same on every machine.

    Args:
        trials: trials of test people, as from `Dataset.of("test")`.
        seed: any whole number.

    Raises:
        DatasetError: no trial remains for the gallery.
    """
    groups: defaultdict[tuple[str, str], list[Trial]] = defaultdict(list)
    trials = tuple(trials)
    for trial in trials:
        groups[trial.subject, trial.label or trial.session].append(trial)
    drawn = {min(group, key=lambda trial: _digest(seed, trial)).name for group in groups.values()}
    return _divide(trials, drawn)


def read_retrieval(
    dataset: Dataset, queries: Path, gallery: Path | None = None, *, split: str = "test"
) -> QueryGallery:
    """Read queries and gallery from lists; a trial that is named twice counts once.

    Args:
        dataset: the dataset of the lists.
        queries: a list with one trial per line; or JSON, with rows of a `filename` under "query".
        gallery: another list, or JSON with rows under "gallery"; None: all other trials of the split.
        split: the split of the trials.

    Raises:
        DatasetError: a list is missing, a line names no trial of the split or more than one, a trial is on both lists,
            or one of the two is empty.
    """
    trials = dataset.of(split)
    query_names = _named(trials, queries, "query")
    if gallery is None:
        return _divide(trials, query_names)
    gallery_names = _named(trials, gallery, "gallery")
    both = sorted(query_names & gallery_names)
    if both:
        raise DatasetError(f"{gallery}: {both[0]} is also on the list of queries; a query must not find itself")
    listed = query_names | gallery_names
    return _divide(tuple(trial for trial in trials if trial.name in listed), query_names)


def _digest(seed: int, trial: Trial) -> bytes:
    return hashlib.sha256(f"{seed}/{trial.name}".encode()).digest()


def _divide(trials: tuple[Trial, ...], query_names: set[str]) -> QueryGallery:
    query = tuple(trial for trial in trials if trial.name in query_names)
    gallery = tuple(trial for trial in trials if trial.name not in query_names)
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
        matches = [known[word.strip("/")] for word in line.split() if word.strip("/") in known]
        if len(matches) != 1 or len(matches[0]) != 1:
            raise DatasetError(
                f"{path}, row {number}: expected the name of one trial, such as {trials[0].name}, got {line!r}"
            )
        names |= matches[0]
    return names


def _json_rows(path: Path, side: str) -> Iterator[tuple[int, str]]:
    text = " ".join(line for _, line in lines_of(path, "a list of trials"))
    try:
        rows = [str(row["filename"]) for row in json.loads(text)[side]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DatasetError(f"{path}: expected rows with a filename under {side!r}; fetch the list again") from None
    return iter(enumerate(rows, 1))
