"""DVS128 Gesture, in both published forms.

29 people make eleven gestures in front of a DVS128 under several lightings; 23 of them are for training, 6 for tests.
The original release holds one recording per person and lighting, with a table of the start and end of each gesture.
The tonic library's form is already cut into one file per gesture, at a resolution of a millisecond.

Source: Amir et al., A Low Power, Fully Event-Based Gesture Recognition System, CVPR 2017; folder layout: the README of
the release, and tonic.datasets.DVSGesture.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from eventveil.errors import DatasetError
from eventveil.events import Sensor
from eventveil.replay.datasets.clip_source import open_cut, open_recording
from eventveil.replay.datasets.listing import files_in, folders_in, lines_of
from eventveil.replay.datasets.trials import Dataset, Trial

KIND = "dvs-gesture"
GESTURES = (
    "hand clapping", "right hand wave", "left hand wave", "right arm clockwise", "right arm counter-clockwise",
    "left arm clockwise", "left arm counter-clockwise", "arm roll", "air drums", "air guitar", "other gestures",
)  # fmt: skip
"""The classes: numbered from 0 in tonic's form, from 1 in the original release."""
NOBODY, NO_GESTURE = "nobody", "person, no gesture"
LABELS = (*GESTURES, NOBODY, NO_GESTURE)
"""What `eventveil simulate` can label besides; the real dataset has only the gestures."""

SENSOR = Sensor(128, 128)
TONIC_FOLDERS = {"ibmGestureTrain": "train", "ibmGestureTest": "test"}
RELEASE_LISTS = {"trials_to_train.txt": "train", "trials_to_test.txt": "test"}
LOOKS_FOR = (
    "DVS128 Gesture: ibmGestureTrain/ or ibmGestureTest/ (tonic), trials_to_train.txt or trials_to_test.txt (release)"
)
RECORDING = re.compile(r"((?:user|scene)\d+)_(\w+)")  # subject, or a scene without one, and lighting
LONGEST_US = 1 << 40  # of a trial, 12 days: whatever lasts longer has damaged times
FURTHEST_US = 1 << 62
LABEL_COLUMNS = ["class", "startTime_usec", "endTime_usec"]


def recognises(root: Path) -> bool:
    """Return whether a folder is DVS128 Gesture in one of its forms."""
    return any((root / name).exists() for name in (*TONIC_FOLDERS, *RELEASE_LISTS))


def index(root: Path) -> Dataset:
    """List the trials.

    Raises:
        DatasetError: a file is missing or does not follow the layout, or a class is unknown.
    """
    if any((root / name).exists() for name in TONIC_FOLDERS):
        return Dataset(KIND, "DVS128 Gesture, as tonic stores it", root, GESTURES, tuple(_tonic_trials(root)))
    trials = tuple(_release_trials(root))
    classes = LABELS if any(trial.label in (NOBODY, NO_GESTURE) for trial in trials) else GESTURES
    return Dataset(KIND, "DVS128 Gesture, original release", root, classes, trials)


def _tonic_trials(root: Path) -> Iterator[Trial]:
    for folder, split in TONIC_FOLDERS.items():
        if not (root / folder).exists():
            continue
        for session in folders_in(root / folder, "folders named userNN_LIGHTING"):
            subject, lighting = _subject_and_lighting(session, session.name)
            for path in files_in(session, ".npy", "trials named 0.npy to 10.npy"):
                target = _target(path.stem, 0, len(GESTURES), path)
                yield Trial(
                    name=path.relative_to(root).as_posix(),
                    path=path,
                    subject=subject,
                    target=target,
                    label=GESTURES[target],
                    session=lighting,
                    lighting=lighting,
                    duration_us=_duration_us(path),
                    split=split,
                    opener=partial(open_recording, path, "columns=x,y,p,t&unit=ms", SENSOR),
                )


def _duration_us(path: Path) -> int:
    """Return the duration of a table of x, y, p, t in milliseconds, from its first and last row alone."""
    try:
        table = np.load(path, mmap_mode="r", allow_pickle=False)
        valid = table.ndim == 2 and table.shape[1] == 4 and table.dtype.kind in "iuf"
    except Exception:  # numpy evaluates the header, so foreign bytes can raise anything
        valid = False
    if not valid:
        raise DatasetError(f"{path}: expected a table of numbers with columns x, y, p, t; fetch the file again")
    if not len(table):
        return 0
    duration_us = 1_000 * (float(table[-1, 3]) - float(table[0, 3]))
    if not duration_us < LONGEST_US:  # nor is NaN
        raise DatasetError(
            f"{path}: expected times of a trial in milliseconds, got other numbers; fetch the file again"
        )
    return max(0, round(duration_us))  # below 0, its times are not in order, which reading it says


def _release_trials(root: Path) -> Iterator[Trial]:
    for name, split in RELEASE_LISTS.items():
        for number, line in lines_of(root / name, "the list of recordings that belongs to the release"):
            path = root / line
            if path.parent != root or path.name != line:
                raise DatasetError(
                    f"{root}: {name}, line {number}: expected the name of a file in the same folder, got {line}"
                )
            for part in (path, path.with_name(f"{path.stem}_labels.csv")):
                if not os.path.isfile(part):  # noqa: PTH113 - Path raises where a name is too long
                    raise DatasetError(
                        f"{root}: {name}, line {number}, names {line}, but there is no {part.name}; "
                        "unpack the release again, with recordings, labels and lists in one folder"
                    )
            yield from _labelled(path, split)


def _labelled(path: Path, split: str) -> Iterator[Trial]:
    """Yield the trials of one recording, cut as its label file states."""
    subject, lighting = _subject_and_lighting(path, path.stem)
    labels = path.with_name(f"{path.stem}_labels.csv")
    for number, row in enumerate(_labels_in(labels), 1):
        target = _target(row["class"], 1, len(LABELS), labels)
        try:
            start_us, stop_us = int(row["startTime_usec"]), int(row["endTime_usec"])
        except (TypeError, ValueError):
            raise DatasetError(
                f"{labels}: label {number} has no start and end in whole microseconds; correct it"
            ) from None
        if start_us >= stop_us:
            raise DatasetError(f"{labels}: label {number} ends before it begins; correct or remove it")
        if stop_us - start_us > LONGEST_US or abs(start_us) > FURTHEST_US:
            raise DatasetError(f"{labels}: label {number} is of times that no recording has; correct or remove it")
        yield Trial(
            name=f"{path.name}#{number}",
            path=path,
            subject=subject,
            target=target,
            label=LABELS[target],
            session=lighting,
            lighting=lighting,
            duration_us=stop_us - start_us,
            split=split,
            start_us=start_us,
            opener=partial(open_cut, path, start_us, stop_us),
            person=subject.startswith("user") and LABELS[target] != NOBODY,
        )


def _labels_in(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a label file, by column."""
    rows = csv.DictReader(line for _, line in lines_of(path, "the labels of a recording"))
    try:
        if rows.fieldnames != LABEL_COLUMNS:
            raise DatasetError(f"{path}: expected columns {','.join(LABEL_COLUMNS)}; fetch the file again")
        yield from rows
    except csv.Error:
        raise DatasetError(f"{path}: expected lines of class, start and end; fetch the file again") from None


def _subject_and_lighting(path: Path, name: str) -> tuple[str, str]:
    match = RECORDING.fullmatch(name)
    if match is None:
        raise DatasetError(
            f"{path}: expected a name like userNN_LIGHTING, as in user01_natural; remove it if it is not of the dataset"
        )
    return match[1], match[2]


def _target(text: str, first: int, classes: int, path: Path) -> int:
    """Return the index of a class, one of `classes`, from its number, which counts from `first`."""
    last = first + classes - 1
    if not (text.isascii() and text.isdecimal() and len(text) < 9 and first <= int(text) <= last):
        raise DatasetError(f"{path}: unknown class {text!r}; the classes are numbered {first} to {last} in this layout")
    return int(text) - first
