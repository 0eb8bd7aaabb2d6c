"""Exports a trained network to a weights file for `eventveil run`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from torch import nn

from eventveil.errors import WeightsError
from eventveil.host.files import private_folder
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
    """Write a weights file and return the digest of its tensors.

    Args:
        path: the file.
        network: one of the kinds of `eventveil.models`.
        role: role of the network.
        settings: settings of the run, which describe the network's windows.
        scene: statistics of its training windows.
        labels: names of a classifier's classes.
        note: origin of the weights.

    Raises:
        WeightsError: the file cannot be written, or a weight is not finite.
    """
    try:
        private_folder(path.parent)
    except OSError as error:
        raise WeightsError(f"{path.parent}: cannot be created ({error.strerror}); check --out") from error
    keys = window_keys(settings)
    metadata = Metadata.of(network, role=role, labels=labels, trained=True, scene=scene, note=note, **keys)
    return save_weights(path, network, metadata)


def window_keys(settings: TrainSettings) -> dict[str, Any]:
    """Return the metadata keys that describe the windows a network expects."""
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
        "clock": "ms" if window.clock == "ms" else "us",  # a pipeline gets no frames
        "box": window.crop if isinstance(window.crop, str) else None,
    }
