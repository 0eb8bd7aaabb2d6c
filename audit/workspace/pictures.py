"""Pictures of the windows of an audit, from `eventveil.models.pictures`.

Legend of axes: B windows, K bins, G grids, V nodes of a grid (5), H rows, W columns.
"""

from __future__ import annotations

from pathlib import Path

import torch

from eventveil.errors import AuditError
from eventveil.models.pictures import reconstructed, voxel_weights
from eventveil.models.reconstruction import BINS as NODES
from eventveil.models.reconstruction import load_firenet
from eventveil.training.objectives.ssim import SIDE
from eventveil.training.settings import TrainingWindowSettings
from eventveil.training.stages.reconstruction import Picture


def grids_of(x_BCHW: torch.Tensor, window: TrainingWindowSettings) -> torch.Tensor:
    """Return the voxel grids (B, G, 5, H, W) of windows, anonymized or not.

    Args:
        x_BCHW: counts (B, 2K, H, W), channel 2k for OFF and 2k + 1 for ON of bin k; or voxel grids (B, K, H, W), whose
            nodes are treated as bins unless there are five.
        window: the kind of windows.
    """
    if window.mode == "voxel" and window.bins == NODES:
        return x_BCHW[:, None]
    signed_BKHW = x_BCHW if window.mode == "voxel" else x_BCHW[:, 1::2] - x_BCHW[:, 0::2]
    return torch.einsum("gvk,bkhw->bgvhw", voxel_weights(window.bins).to(x_BCHW.device), signed_BKHW)


def picture_maker(path: Path, window: TrainingWindowSettings, device: torch.device) -> Picture:
    """Load FireNet, and return a function that makes a picture of each window, independently of the others.

    Raises:
        AuditError: windows are too small for comparing pictures.
        WeightsError: the file is missing, or is not of this network.
    """
    if min(window.size) < SIDE:
        raise AuditError(
            f"reconstruction.weights: pictures are compared in squares of {SIDE}x{SIDE} pixels, but windows have "
            f"{window.size[0]}x{window.size[1]}; leave this key out"
        )
    network = load_firenet(path).to(device)
    return lambda x_BCHW: reconstructed(network, grids_of(x_BCHW, window))[0]
