"""Pictures from published windows: FireNet, with the input that an attacker would give it.

An attacker has the counts of a window's bins, and no events. A voxel grid is a sum over events. So its expected value
follows from the counts if events are spread evenly over their bin: a small matrix maps bins to nodes of the grid.

Legend of axes: B windows, K bins, G grids, V nodes of a grid (5), H rows, W columns.
"""

from __future__ import annotations

import torch

from eventveil.models.reconstruction import BINS as NODES
from eventveil.models.reconstruction import FireNet, RecurrentState

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
