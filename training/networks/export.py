"""From a trained network to a weights file that `eventveil run` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from torch import nn

from eventveil.models.kinds import Role
from eventveil.models.metadata import Metadata, TrainedScene
from eventveil.models.weights import save_weights
from eventveil.training.settings import TrainSettings


def export(
    path: Path,
    network: nn.Module,
    role: Role,
    settings: TrainSettings,
    *,
    scene: TrainedScene,
    labels: tuple[str, ...],
    note: str,
) -> str:
    """Write a weights file; returns the digest of its tensors.

    Args:
        path: the file.
        network: one of the kinds of `eventveil.models`.
        role: what it is for.
        settings: of the run: the windows that the network was made for.
        scene: what its training windows were like.
        labels: names of a classifier's classes.
        note: where it comes from.

    Raises:
        WeightsError: it cannot be written, or holds values that are not finite.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = window_keys(settings)
    metadata = Metadata.of(network, role=role, labels=labels, trained=True, scene=scene, note=note, **keys)
    return save_weights(path, network, metadata)


def window_keys(settings: TrainSettings) -> dict[str, Any]:
    """The keys of metadata that tell what windows a network takes."""
    window = settings.window
    mode: Literal["recording", "windows"] = "recording" if window.mode == "recording" else "windows"
    live = mode == "windows"
    return {
        "representation": "voxel" if window.mode == "voxel" else "histogram",
        "mode": mode,
        "bins": window.bins,
        "bin_us": window.bin_us if live else None,
        "hop": (window.bins if window.mode == "voxel" else window.hop or window.bins) if live else None,
        "size": window.size,
    }
