"""The run folder: its stages, their settings, and the results.

RUN/split.json            people for training, validation and test
RUN/windows/              rows of the trials, see `data/windows.py`; elsewhere with data.cache
RUN/pretrain/target, RUN/pretrain/identity, RUN/adversarial, RUN/attack/SUBJECT/target, RUN/attack/pictures/identity ...
    settings.yaml         settings of this stage
    last.pt, best.pt      the checkpoint to resume from, and the weights of the epoch chosen on validation people
    steps.csv, epochs.csv, tensorboard/, curves.png, confusion.png, windows.png
RUN/attack/SUBJECT/result.json, RUN/results.json
RUN/weights/              weights for `eventveil run`
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import yaml

from eventveil.errors import TrainingError
from eventveil.settings import Settings
from eventveil.training.data.split import SPLIT
from eventveil.training.engine.loop import LAST
from eventveil.training.settings import TrainSettings
from eventveil.training.whole_file import write_whole

NOT_IN_DIGEST: dict[str, set[str] | bool] = {
    "run": {"device", "save_every_s", "tensorboard", "pictures", "keep_windows"},
    "data": {"cache", "workers", "simulate"},
}
STAGES = ("pretrain", "adversarial", "attack")
NEEDS = {"pretrain": ("pretrain",), "adversarial": ("anonymizer", "adversarial"), "attack": ("anonymizer", "attack")}


def check_run_folder(folder: Path) -> None:
    """Refuse a folder that is not a run folder and holds files with a run's names: a run would replace them.

    Raises:
        TrainingError: it is such a folder.
    """
    if (folder / SPLIT).exists():
        return
    existing = [name for name in ("windows", *STAGES, "results.json", "weights") if os.path.lexists(folder / name)]
    if existing:
        raise TrainingError(f"{folder / existing[0]}: exists, and no run made it; choose another folder with --out")


def digest_of(settings: TrainSettings, stage: str) -> str:
    """Return the SHA-256 of the settings that affect a stage."""
    values = _that_matter(settings)
    for other in {"anonymizer", *STAGES} - set(NEEDS[stage]):
        values.pop(other)
    if stage == "attack":
        for several in ("against", "of"):
            values["attack"].pop(several)
    return _digest(values)


def digest_of_all(settings: TrainSettings) -> str:
    """Return the SHA-256 of the settings that affect any stage."""
    return _digest(_that_matter(settings))


def _that_matter(settings: TrainSettings) -> dict[str, Any]:
    return settings.model_dump(mode="json", exclude=NOT_IN_DIGEST)


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def prepare_stage_folder(folder: Path, settings: Settings, *, resume: bool) -> None:
    """Create the folder of a stage, with its settings.

    Raises:
        TrainingError: the stage was already started there and `resume` is false, or the folder cannot be written.
    """
    if (folder / LAST).exists() and not resume:
        raise TrainingError(
            f"{folder}: this stage was already started; resume it with --resume, or choose another folder with --out"
        )
    for part in folder.glob(".*.part"):  # left by a run that was killed while writing
        part.unlink(missing_ok=True)
    if not (folder / LAST).exists():
        text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)
        write_whole(folder / "settings.yaml", lambda file: file.write(text.encode()))
