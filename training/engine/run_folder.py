"""A run folder: which stages were begun in it, with what settings, and what came out.

RUN/split.json            who is trained on, validated on, tested on
RUN/windows/              rows of the trials, see `windows.py`; elsewhere with data.cache
RUN/pretrain/target, RUN/pretrain/identity, RUN/adversarial, RUN/attack/SUBJECT/target, RUN/attack/pictures/identity ...
    settings.yaml         of this stage
    last.pt, best.pt      where it stands, and the weights of the epoch that was chosen on validation
    steps.csv, epochs.csv, tensorboard/, curves.png, confusion.png, windows.png
RUN/attack/SUBJECT/result.json, RUN/results.json
RUN/weights/              what `eventveil run` takes
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from eventveil.errors import TrainingError
from eventveil.training.engine.checkpoint import write_whole
from eventveil.training.engine.loop import LAST
from eventveil.training.settings import TrainSettings

BESIDE_THE_POINT: dict[str, set[str] | bool] = {
    "run": {"device", "save_every_s", "tensorboard", "pictures"},
    "data": {"cache", "workers", "simulate"},
}
STAGES = ("pretrain", "adversarial", "attack")
NEEDS = {"pretrain": ("pretrain",), "adversarial": ("anonymizer", "adversarial"), "attack": ("anonymizer", "attack")}


def digest_of(settings: TrainSettings, stage: str) -> str:
    """SHA-256 of the settings that matter to a stage."""
    values = settings.model_dump(mode="json", exclude=BESIDE_THE_POINT)
    for other in {"anonymizer", *STAGES} - set(NEEDS[stage]):
        values.pop(other)
    if stage == "attack":
        for several in ("against", "of"):
            values["attack"].pop(several)
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def begin(folder: Path, settings: TrainSettings, *, resume: bool) -> None:
    """Make the folder of a stage, with its settings.

    Raises:
        TrainingError: the stage was begun there already and is not to be gone on with, or the folder cannot be written.
    """
    if (folder / LAST).exists() and not resume:
        raise TrainingError(
            f"{folder}: this stage was begun here already; go on with --resume, or name another folder with --out"
        )
    for part in folder.glob(".*.part"):  # of a run that was killed while it wrote
        part.unlink(missing_ok=True)
    if not (folder / LAST).exists():
        text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)
        write_whole(folder / "settings.yaml", lambda file: file.write(text.encode()))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write figures.

    Raises:
        TrainingError: the file cannot be written.
    """
    write_whole(path, lambda file: file.write((json.dumps(content, indent=2) + "\n").encode()))


def read_json(path: Path) -> dict[str, Any]:
    """Read figures; none where there is no such file."""
    content: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return content
