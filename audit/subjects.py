"""The subjects of an audit: weights files, and rules without a network for comparison."""

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
        name: unique among the subjects.
        anonymizer: the workspace moves a module to its device.
        audited: whether it gets a verdict; the others are for comparison.
        digest: SHA-256 of its tensors; None for a rule.
        about: metadata of the weights file; None for a rule.
    """

    name: str
    anonymizer: Anonymizer
    audited: bool = False
    digest: str | None = None
    about: dict[str, Any] | None = None

    @property
    def folder(self) -> str:
        """Its folder's name."""
        return folder_of(self.name)


def read_weights(paths: Sequence[Path]) -> dict[str, Weights]:
    """Load the anonymizers to audit, by the names of their files; `shipped` is the one that comes with eventveil.

    Raises:
        AuditError: two files have the same name.
        WeightsError: a file is not an anonymizer, or the files are for different windows.
    """
    weights: dict[str, Weights] = {}
    for path in paths:
        if path.stem in weights or path.stem == RAW:
            raise AuditError(f"{path}: expected weights files of different names, none of them raw; rename this one")
        is_shipped = path == Path(shipped.NAME) and not path.exists()
        weights[path.stem] = load_weights(shipped.ANONYMIZER if is_shipped else path)
    first = next(iter(weights.values()))
    for other in weights.values():
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
    return weights


def with_windows_of(settings: AuditSettings, weights: Weights) -> AuditSettings:
    """Return the settings with the windows of the weights; how training draws windows stays."""
    metadata = weights.metadata
    mode = "voxel" if metadata.representation == "voxel" else metadata.mode
    changes = {
        "mode": mode,
        "bins": metadata.bins,
        "bin_us": metadata.bin_us,
        "size": metadata.size,
        "hop": metadata.hop,
        "straddle": settings.window.straddle if mode == "windows" else 0.0,
    }
    window = TrainingWindowSettings.model_validate(settings.window.model_dump() | changes)
    return settings.model_copy(update={"window": window})


def subjects_of(weights: dict[str, Weights], settings: AuditSettings) -> list[Subject]:
    """Return all subjects; raw windows come first, as the control."""
    subjects = [Subject(name, baseline(name)) for name in sorted(settings.against, key=lambda name: name != RAW)]
    for name, loaded in weights.items():
        network = loaded.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        about = loaded.metadata.model_dump(mode="json")
        subjects.append(Subject(name, cast("Anonymizer", network), True, loaded.digest, about))
    return subjects
