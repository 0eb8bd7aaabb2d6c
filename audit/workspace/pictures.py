"""Pictures from published windows: FireNet, with the input that an attacker would give it.

An attacker has the counts of a window's bins, and no events. A voxel grid is a sum over events. So its expected value
follows from the counts if events are spread evenly over their bin: a small matrix maps bins to nodes of the grid.

Legend of axes: B windows, K bins, G grids, V nodes of a grid (5), H rows, W columns.
"""

from __future__ import annotations

from pathlib import Path

import torch

from eventveil.errors import AuditError
from eventveil.models.reconstruction import BINS as NODES
from eventveil.models.reconstruction import FireNet, RecurrentState, load_firenet
from eventveil.training.objectives.ssim import SIDE
from eventveil.training.settings import TrainingWindowSettings
from eventveil.training.stages.reconstruction import Picture

DARK, BRIGHT = 0.01, 0.99  # quantiles of a picture that are mapped to 0 and 1


def voxel_weights(bins: int) -> torch.Tensor:
    """Return the share of each bin's events at each node of each grid: float32 (G, 5, K), with sum 1 over G and nodes.

    A window of at least ten bins becomes several consecutive grids, with five bins each or a few more, because FireNet
    was trained on short grids and keeps a state.

    Args:
        bins: K.

    Source: the voxel grid of `eventveil.stream.histogram.voxel_grid`, integrated over each bin.
    """
    grids = max(1, bins // NODES)
    edge_K = torch.arange(bins + 1, dtype=torch.float64) * (grids / bins)  # in grids; node v of a grid is at v / 4
    weights = torch.empty(grids, NODES, bins, dtype=torch.float64)
    for grid in range(grids):
        place_K = ((edge_K - grid) * (NODES - 1)).clamp(0, NODES - 1)
        for node in range(NODES):
            weights[grid, node] = _below(place_K - node).diff() * bins / (grids * (NODES - 1))
    return weights.float()


def _below(distance: torch.Tensor) -> torch.Tensor:
    """Return the integral of max(0, 1 - |u|) from minus infinity to each distance."""
    near = distance.clamp(-1, 1)
    return torch.where(near < 0, (1 + near).square() / 2, 1 - (1 - near).square() / 2)


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


def reconstructed(
    network: FireNet, grids_BGVHW: torch.Tensor, state: RecurrentState | None = None
) -> tuple[torch.Tensor, RecurrentState]:
    """Return the picture (B, 1, H, W), from 0 to 1, after the last of the grids, and the network's state.

    Source: brightness is stretched as in E2VID (Rebecq et al., 2019), so that a faint picture counts, too.
    """
    assert grids_BGVHW.shape[1]
    for grid_BVHW in grids_BGVHW.unbind(1):
        picture, state = network.reconstruct(grid_BVHW, state)
    assert state is not None
    return stretched(picture), state


def stretched(picture_B1HW: torch.Tensor) -> torch.Tensor:
    """Stretch pictures to 0 to 1; a uniform picture becomes black."""
    picture = picture_B1HW.float()
    low, high = torch.quantile(picture.flatten(1), torch.tensor((DARK, BRIGHT), device=picture.device), dim=1)
    span = (high - low).clamp(min=1e-6)
    bright: torch.Tensor = (picture - low[:, None, None, None]) / span[:, None, None, None]
    return bright.clamp(0, 1)


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
