"""Varies training windows: place, size, orientation, event rate, contrast, polarity, noise.

Counts stay whole numbers. A smaller person fires as many events per pixel in fewer pixels, so a size is applied by
choosing the nearest pixel. Every window has its own numbers, drawn for a whole batch at once.

Legend of axes: B windows, C channels (2k + p of bin k and polarity p), K bins, H rows, W columns.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from eventveil.training.stand_in.settings import VariationSettings

SLIGHT = 0.4  # of the largest shift, rotation and change of size: what a camera in its usual place sees


def vary(
    x_BCHW: torch.Tensor, settings: VariationSettings, bin_s: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return varied windows, and a bool (B,) that says which of them are mirrored.

    Args:
        x_BCHW: float32 counts.
        settings: the ranges.
        bin_s: length of a bin, seconds.
        generator: generator of all draws.
    """
    windows = len(x_BCHW)
    moved_BCHW, mirrored_B = _moved(x_BCHW, settings, generator)
    x_BK2HW = moved_BCHW.view(windows, -1, 2, *moved_BCHW.shape[2:])
    swapped_B = torch.rand(windows, generator=generator) < settings.polarity
    x_BK2HW = torch.where(_like(swapped_B, x_BK2HW), x_BK2HW.flip(2), x_BK2HW)
    x_BK2HW = _scaled(x_BK2HW, settings, generator)
    return _with_noise(x_BK2HW, settings, bin_s, generator).flatten(1, 2), mirrored_B


def _moved(
    x_BCHW: torch.Tensor, settings: VariationSettings, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Shift, rotate, resize and mirror; what comes from beyond the edges is empty."""
    uniform_B6 = torch.rand((len(x_BCHW), 6), generator=generator)
    extent_B = torch.where(uniform_B6[:, 5] < settings.slight, SLIGHT, 1.0)
    mirrored_B = (uniform_B6[:, 0] < 0.5) & settings.mirror
    angle_B = extent_B * (2 * uniform_B6[:, 1] - 1) * settings.rotation_deg * (math.pi / 180)
    low, high = (math.log(factor) for factor in settings.size)
    size_B = torch.exp(extent_B * (low + (high - low) * uniform_B6[:, 2]))
    reach_B = 2 * settings.shift * extent_B  # the picture is 2 wide
    right_B, down_B = (reach_B * (2 * uniform_B6[:, k] - 1) for k in (3, 4))
    cos_B, sin_B = torch.cos(angle_B) / size_B, torch.sin(angle_B) / size_B
    flip_B = torch.where(mirrored_B, -1.0, 1.0)
    # From output to input, as affine_grid wants it.
    rows = ((cos_B * flip_B, sin_B, -right_B), (-sin_B * flip_B, cos_B, -down_B))
    theta_B23 = torch.stack([torch.stack(row, 1) for row in rows], 1)
    grid_BHW2 = functional.affine_grid(theta_B23, list(x_BCHW.shape), align_corners=False)
    moved_BCHW = functional.grid_sample(x_BCHW, grid_BHW2, "nearest", "zeros", align_corners=False)
    return moved_BCHW, mirrored_B


def _scaled(x_BK2HW: torch.Tensor, settings: VariationSettings, generator: torch.Generator) -> torch.Tensor:
    """Multiply the counts of some windows, OFF and ON by other factors; fractions are rounded at random."""
    uniform_B3 = torch.rand((len(x_BK2HW), 3), generator=generator)
    low, high = (math.log(factor) for factor in settings.rate)
    rate_B = torch.exp(low + (high - low) * uniform_B3[:, 0])
    contrast_B = settings.contrast ** (2 * uniform_B3[:, 1] - 1)
    factor_B2 = torch.stack((rate_B * contrast_B, rate_B / contrast_B), 1)
    touched_B = uniform_B3[:, 2] >= settings.untouched
    scaled = x_BK2HW[touched_B] * factor_B2[touched_B, None, :, None, None]
    x_BK2HW = x_BK2HW.clone()
    x_BK2HW[touched_B] = torch.floor(scaled + torch.rand(scaled.shape, generator=generator))
    return x_BK2HW


def _with_noise(
    x_BK2HW: torch.Tensor, settings: VariationSettings, bin_s: float, generator: torch.Generator
) -> torch.Tensor:
    """Add noise events to some windows, with a rate and a share of ON events of their own."""
    uniform_B3 = torch.rand((len(x_BK2HW), 3), generator=generator)
    rate_B = settings.noise_hz * bin_s * uniform_B3[:, 0] ** 2  # mostly little noise
    on_B = 0.1 + 0.6 * uniform_B3[:, 1]
    rate_B2 = torch.stack((rate_B * (1 - on_B), rate_B * on_B), 1)
    noisy_B = uniform_B3[:, 2] >= settings.untouched
    x_BK2HW = x_BK2HW.clone()
    noisy = rate_B2[noisy_B, None, :, None, None].expand_as(x_BK2HW[noisy_B])
    x_BK2HW[noisy_B] += torch.poisson(noisy, generator=generator)
    return x_BK2HW


def _like(value_B: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return value_B.view(-1, *[1] * (x.ndim - 1))
