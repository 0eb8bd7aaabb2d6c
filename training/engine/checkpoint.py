"""Where a stage stands, on disk: whole or not at all, and nothing that runs when it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any

import torch

from eventveil.errors import TrainingError
from eventveil.files import atomic_file
from eventveil.training.engine.learner import Learner

VERSION = 1


@dataclass
class Progress:
    """How far a stage is.

    Attributes:
        epoch: the epoch that is under way, from 0; the number of epochs when the stage is finished.
        step: steps of it that are done.
        sums: of the values of these steps.
        history: a row of figures for each finished epoch.
        best_epoch: the one that was chosen so far.
        best_score: its score.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, list[float]] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = -1
    best_score: float = float("-inf")


def save_stage(path: Path, progress: Progress, learners: Mapping[str, Learner], settings: str) -> None:
    """Write everything that a stage goes on from.

    Args:
        path: the file.
        progress: how far it is.
        learners: whose weights and optimizers are saved.
        settings: digest of the settings, which must be the same when it goes on.

    Raises:
        TrainingError: the file cannot be written; an older one is still there.
    """
    content = {
        "version": VERSION,
        "settings": settings,
        "progress": asdict(progress),
        "networks": {name: learner.network.state_dict() for name, learner in learners.items()},
        "optimizers": {name: learner.optimizer.state_dict() for name, learner in learners.items()},
    }
    write_whole(path, lambda file: torch.save(content, file))


def load_stage(path: Path, learners: Mapping[str, Learner], settings: str) -> Progress:
    """Put the learners where they stood, and return how far the stage was.

    Raises:
        TrainingError: the file cannot be read, or is of other settings.
    """
    content = _read(path)
    if content["settings"] != settings:
        raise TrainingError(
            f"{path.parent}: was begun with other settings; go on with those in its run folder's config.yaml, or name "
            "another folder with --out"
        )
    for name, learner in learners.items():
        learner.network.load_state_dict(content["networks"][name])
        learner.optimizer.load_state_dict(content["optimizers"][name])
    return Progress(**content["progress"])


def save_networks(path: Path, learners: Mapping[str, Learner], epoch: int) -> None:
    """Write the weights of an epoch that was chosen.

    Raises:
        TrainingError: the file cannot be written.
    """
    networks = {name: learner.network.state_dict() for name, learner in learners.items()}
    write_whole(path, lambda file: torch.save({"version": VERSION, "epoch": epoch, "networks": networks}, file))


def load_networks(path: Path, needed_by: str) -> tuple[int, dict[str, dict[str, torch.Tensor]]]:
    """Read the weights of the epoch that was chosen; returns which it was, and state dicts by name.

    Raises:
        TrainingError: there are none yet.
    """
    if not path.exists():
        raise TrainingError(
            f"{path}: {needed_by} begins with these weights, and they are not there; train that stage first, into the "
            "same folder"
        )
    content = _read(path)
    return content["epoch"], content["networks"]


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write beside a file and rename over it, so that a killed process or a full disk leaves the older one.

    Raises:
        TrainingError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            write(file)
    except (OSError, RuntimeError) as error:  # torch tells of a full disk as a RuntimeError
        reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        raise TrainingError(
            f"{path}: cannot be written ({reason}); make space and go on with --resume, what was there before is whole"
        ) from error


def _read(path: Path) -> Any:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["version"] == VERSION:
            return content
        found = f"is of version {content['version']}, this eventveil reads {VERSION}"
    except OSError as error:
        found = f"cannot be read ({error.strerror})"
    except (RuntimeError, UnpicklingError, KeyError, TypeError, EOFError):
        found = "is no checkpoint of training"
    raise TrainingError(f"{path}: {found}; begin again in another folder, with --out")
