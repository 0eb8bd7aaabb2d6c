"""SEE, Single-eye Event-based Emotion: one eye of a person who acts one of seven emotions, under four lightings.

It is published as pictures of events, one folder of frames per sequence, whose name describes it:
`event/angry/1_001_man_24_Master_normal_angry_45_take000/00000.jpg`.

Source: Zhang et al., In the Blink of an Eye: Event-based Emotion Recognition, SIGGRAPH 2023, and the instructions that
come with the dataset; the layout and the lists of people: the README and `reid_utils/see_metadata.json` of AnonyNoise.
"""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

from eventveil.errors import DatasetError
from eventveil.io.source import Disorder
from eventveil.replay.datasets.listing import files_in, folders_in
from eventveil.replay.datasets.see_frames import FRAME_US, FrameSource
from eventveil.replay.datasets.trials import NO_SPLIT, Dataset, Trial

KIND = "see"
EMOTIONS = ("angry", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
METADATA = "see_metadata.json"
SPLITS = {"train": "train", "query": "test", "gallery": "test"}
LOOKS_FOR = "SEE: event/angry/, event/disgust/ ... with a folder of frames per sequence"
# Sex, age and degree are left unnamed on purpose: they are not needed.
SEQUENCE = re.compile(
    r"(\d+)_(?P<subject>\d+)_[^_]+_\d+_[^_]+_(?P<light>[^_]+)_(?P<emotion>[^_]+)_\d+_(?P<take>take\d+)"
)


def recognises(root: Path) -> bool:
    """Return whether a folder is SEE."""
    folder = root / "event"
    return folder.is_dir() and any(entry.name.lower() in EMOTIONS for entry in folder.iterdir())


def index(root: Path) -> Dataset:
    """List the sequences.

    SEE publishes no split by person. Where the folder holds AnonyNoise's `see_metadata.json`, its training and test
    people are used; otherwise every trial is of the split "all".

    Raises:
        DatasetError: a file is missing or does not follow the layout, or a class is unknown.
    """
    splits = _published_split(root / METADATA)
    trials = tuple(
        _trial(root, path, _emotion(folder.name, folder), splits)
        for folder in folders_in(root / "event", "folders named as the emotions")
        for path in folders_in(folder, "folders of frames")
    )
    return Dataset(KIND, "SEE, event frames", root, EMOTIONS, trials)


def _trial(root: Path, path: Path, emotion: str, splits: dict[str, str] | None) -> Trial:
    match = SEQUENCE.fullmatch(path.name)
    if match is None or _emotion(match["emotion"], path) != emotion:
        raise DatasetError(
            f"{path}: expected a sequence of {emotion!r}, "
            "named NUMBER_ID_SEX_AGE_DEGREE_LIGHTING_EMOTION_LENGTH_takeNNN"
        )
    frames = _frames(path)
    if splits is not None and path.name not in splits:
        raise DatasetError(f"{path}: {METADATA} does not name this sequence; add it there, or remove the list")
    return Trial(
        name=path.relative_to(root).as_posix(),
        path=path,
        subject=match["subject"],
        target=EMOTIONS.index(emotion),
        label=emotion,
        session=match["take"],
        lighting=match["light"],
        duration_us=len(frames) * FRAME_US,
        split=splits[path.name] if splits is not None else NO_SPLIT,
        opener=partial(_open_frames, frames),
    )


def _open_frames(frames: list[Path], *, on_disorder: Disorder) -> FrameSource:  # noqa: ARG001 - frames have an order
    return FrameSource(frames)


def _frames(path: Path) -> list[Path]:
    """Return the frames of a sequence; raises where one is missing."""
    frames = files_in(path, ".jpg", "frames named 00000.jpg and on")
    for number, frame in enumerate(frames):
        if not (frame.stem.isdecimal() and int(frame.stem) == number):
            raise DatasetError(
                f"{path}: looked for frame {number:05}.jpg, found {frame.name}; fetch the sequence again"
            )
    return frames


def _emotion(text: str, path: Path) -> str:
    emotion = text.lower()  # one folder of the published dataset is spelled neutraL
    if emotion not in EMOTIONS:
        raise DatasetError(f"{path}: unknown class {text!r}; the emotions are {', '.join(EMOTIONS)}")
    return emotion


def _published_split(path: Path) -> dict[str, str] | None:
    """Return the split of each sequence by its name; None where there is no such list."""
    if not path.exists():
        return None
    try:
        lists = json.loads(path.read_text(encoding="utf-8"))
        return {row["filename"]: split for name, split in SPLITS.items() for row in lists[name]}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DatasetError(f"{path}: expected lists train, query and gallery of rows with a filename") from None
