"""Shifts, rotates and mirrors a whole batch of windows at once, on its device.

Drawing parameters and applying them are two functions: processes that share a batch draw for all of it and apply their
own part. Legend of axes: B windows, C channels, H rows, W columns; 4 parameters of a window, see `draw_augmentation`.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from eventveil.training.settings import AugmentSettings

MIRRORED_GESTURES = (0, 2, 1, 6, 5, 4, 3, 7, 8, 9, 10)
"""The mirror image of each of `replay.datasets.dvs_gesture.GESTURES`: gesture k becomes `MIRRORED_GESTURES[k]`.

A mirror turns the right arm into the left one and reverses the direction of a circle: the right arm clockwise becomes
the left arm counter-clockwise. The other gestures are performed with either hand or both."""


def draw_augmentation(
    batch: int, size: tuple[int, int], generator: torch.Generator, settings: AugmentSettings
) -> torch.Tensor:
    """Draw the parameters of a batch: float32 (batch, 4), on the generator's device.

    For each window: the shift to the right and down in whole pixels (the same as a random crop of the padded window),
    the clockwise rotation in degrees that follows, and 1 if the window is mirrored at the end, else 0.

    Args:
        batch: number of windows.
        size: width and height, pixels.
        generator: the amount drawn from it does not depend on the settings.
        settings: the ranges.
    """
    uniform_B4 = torch.rand((batch, 4), generator=generator, device=generator.device)
    columns = []
    for axis in (0, 1):
        farthest = int(size[axis] * settings.padding + 1e-6)  # a twelfth of 180 is 15, in whatever digits it is given
        # rand() is below 1, but its product with a float32 may round up to the limit.
        columns.append((uniform_B4[:, axis] * (2 * farthest + 1)).floor().clamp(max=2 * farthest) - farthest)
    columns.append((2 * uniform_B4[:, 2] - 1) * settings.rotation_deg)
    columns.append(((uniform_B4[:, 3] < 0.5) & settings.mirror).float())
    return torch.stack(columns, dim=1)


def augment(x_BCHW: torch.Tensor, parameters_B4: torch.Tensor) -> torch.Tensor:
    """Shift each window, rotate it about its centre, then mirror it; pixels from beyond the edges are zero.

    Interpolation is nearest-neighbour, so counts stay whole numbers, as in live windows. Averaging neighbours would
    give fractions by which a network could tell training windows from live ones. All-zero parameters change nothing.

    Args:
        x_BCHW: float32.
        parameters_B4: from `draw_augmentation`, on any device.

    Raises:
        ValueError: there are not four parameters per window.
    """
    if x_BCHW.ndim != 4 or parameters_B4.shape != (len(x_BCHW), 4):
        raise ValueError(f"expected (B, C, H, W) and (B, 4), got {tuple(x_BCHW.shape)}, {tuple(parameters_B4.shape)}")
    height, width = x_BCHW.shape[2:]
    right, down, degrees, mirror = parameters_B4.to(x_BCHW.device, torch.float32)[:, :, None, None].unbind(1)
    cos, sin = torch.cos(degrees * (math.pi / 180)), torch.sin(degrees * (math.pi / 180))
    # The source of each output pixel, in pixels from the centre: the inverse transform. Elementwise arithmetic, because
    # autocast and TF32 round matrix products to 10 bits or fewer, which would displace pixels.
    x = (torch.arange(width, device=x_BCHW.device) - (width - 1) / 2).view(1, 1, -1) * (1 - 2 * mirror)
    y = (torch.arange(height, device=x_BCHW.device) - (height - 1) / 2).view(1, -1, 1)
    from_x = cos * x + sin * y - right
    from_y = cos * y - sin * x - down
    grid_BHW2 = torch.stack((from_x * (2 / width), from_y * (2 / height)), dim=3)
    return functional.grid_sample(x_BCHW, grid_BHW2, mode="nearest", padding_mode="zeros", align_corners=False)
