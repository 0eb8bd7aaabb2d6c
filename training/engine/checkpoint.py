"""Checkpoints of stages: written atomically, and loaded without executing code from the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from eventveil.errors import TrainingError
from eventveil.training.engine.learner import Learner
from eventveil.training.whole_file import write_whole

VERSION = 1


@dataclass
class StageProgress:
    """The progress of a stage.

    Attributes:
        epoch: index of the current epoch; the number of epochs once the stage is finished.
        step: finished steps of the current epoch.
        sums: the values of these steps, by name.
        history: a row of figures for each finished epoch.
        best_epoch: the best epoch so far.
        best_score: its score.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, list[float]] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = -1
    best_score: float = float("-inf")


def save_stage(path: Path, progress: StageProgress, learners: Mapping[str, Learner], settings: str) -> None:
    """Write everything that is needed to resume a stage.

    Args:
        path: the file.
        progress: progress of the stage.
        learners: the networks and optimizers to save.
        settings: digest of the settings, which must match on resume.

    Raises:
        TrainingError: the file cannot be written; the previous one is kept.
    """
    content = {
        "version": VERSION,
        "settings": settings,
        "progress": asdict(progress),
        "networks": {name: learner.network.state_dict() for name, learner in learners.items()},
        "optimizers": {name: learner.optimizer.state_dict() for name, learner in learners.items()},
    }
    write_whole(path, lambda file: torch.save(content, file))


def load_stage(path: Path, learners: Mapping[str, Learner], settings: str) -> StageProgress:
    """Restore the learners and return the progress of the stage.

    Raises:
        TrainingError: the file cannot be read, or was written with other settings.
    """
    content = _read(path)
    if content["settings"] != settings:
        raise TrainingError(
            f"{path.parent}: this stage was started with other settings; resume it with those in its settings.yaml, or "
            "choose another folder with --out"
        )
    for name, learner in learners.items():
        learner.network.load_state_dict(content["networks"][name])
        learner.optimizer.load_state_dict(content["optimizers"][name])
    return StageProgress(**content["progress"])


def save_networks(path: Path, learners: Mapping[str, Learner], epoch: int) -> None:
    """Write the weights of the best epoch.

    Raises:
        TrainingError: the file cannot be written.
    """
    networks = {name: learner.network.state_dict() for name, learner in learners.items()}
    write_whole(path, lambda file: torch.save({"version": VERSION, "epoch": epoch, "networks": networks}, file))


def load_networks(path: Path, needed_by: str) -> tuple[int, dict[str, dict[str, torch.Tensor]]]:
    """Read the weights of the best epoch; return the epoch, and state dicts by name.

    Raises:
        TrainingError: there are none yet, or the file cannot be read.
    """
    if not path.exists():
        raise TrainingError(
            f"{path}: {needed_by} starts from these weights, but they do not exist; train that stage first, into the "
            "same folder"
        )
    content = _read(path)
    return content["epoch"], content["networks"]


def _read(path: Path) -> Any:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        version = content.get("version") if isinstance(content, dict) else None
        if version == VERSION:
            return content
        if version is None:
            problem = "is not a training checkpoint"
        else:
            problem = f"has version {version}, but this eventveil reads version {VERSION}"
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    except (RuntimeError, UnpicklingError, EOFError):
        problem = "is not a training checkpoint"
    raise TrainingError(f"{path}: {problem}; start again in another folder with --out")
