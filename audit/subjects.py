"""What is audited: weights files, and rules without a network to compare them with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from eventveil.audit.settings import AuditSettings
from eventveil.errors import AuditError
from eventveil.models import shipped
from eventveil.models.kinds import Anonymizer
from eventveil.models.weights import Weights, check_fit, load_weights
from eventveil.training.networks.subjects import RAW, baseline, folder_of
from eventveil.training.settings import TrainingWindowSettings


@dataclass(frozen=True)
class Subject:
    """An anonymizer under attack.

    Attributes:
        name: one that no other has.
        anonymizer: a module is on the device of the bench that it lies on.
        audited: whether a verdict is asked for; the others are for comparison.
        digest: SHA-256 of its tensors; None of a rule.
        about: what its weights file says; empty of a rule.
    """

    name: str
    anonymizer: Anonymizer
    audited: bool = False
    digest: str | None = None
    about: dict[str, Any] | None = None

    @property
    def folder(self) -> str:
        """Its name as a folder's."""
        return folder_of(self.name)


def read_weights(paths: Sequence[Path]) -> dict[str, Weights]:
    """Load anonymizers to be audited, by the names of their files; `shipped` is the one that comes with eventveil.

    Raises:
        AuditError: two files have one name.
        WeightsError: a file is no anonymizer, or they take different windows.
    """
    held: dict[str, Weights] = {}
    for path in paths:
        if path.stem in held or path.stem == RAW:
            raise AuditError(f"{path}: expected weights files of different names, none of them raw; rename this one")
        comes_along = path == Path(shipped.NAME) and not path.exists()
        held[path.stem] = load_weights(shipped.ANONYMIZER if comes_along else path)
    first = next(iter(held.values()))
    for other in held.values():
        check_fit(
            other,
            representation=first.metadata.representation,
            bins=first.metadata.bins,
            bin_us=first.metadata.bin_us,
            size=first.metadata.size,
        )
        if other.metadata.mode != first.metadata.mode:
            modes = f"{other.metadata.mode} and {first.metadata.mode}"
            raise AuditError(f"expected weights for windows of one mode, got {modes}; audit them one by one")
    return held


def with_windows_of(settings: AuditSettings, weights: Weights) -> AuditSettings:
    """The settings, with the windows that weights were made for; how they are drawn in training stays."""
    held = weights.metadata
    mode = "voxel" if held.representation == "voxel" else held.mode
    changed = {
        "mode": mode,
        "bins": held.bins,
        "bin_us": held.bin_us,
        "size": held.size,
        "hop": held.hop,
        "straddle": settings.window.straddle if mode == "windows" else 0.0,
    }
    window = TrainingWindowSettings.model_validate(settings.window.model_dump() | changed)
    return settings.model_copy(update={"window": window})


def subjects_of(weights: dict[str, Weights], settings: AuditSettings) -> list[Subject]:
    """All subjects; raw windows come first, for they tell whether attackers are any good."""
    subjects = [Subject(name, baseline(name)) for name in sorted(settings.against, key=lambda name: name != RAW)]
    for name, held in weights.items():
        network = held.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        about = held.metadata.model_dump(mode="json")
        subjects.append(Subject(name, cast("Anonymizer", network), True, held.digest, about))
    return subjects
