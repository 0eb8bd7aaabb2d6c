"""Windows moved, turned and mirrored, a whole batch at once and on the device of the data.

Drawing and applying are two functions: processes that share a batch draw for all of it and apply their part.
Legend of axes: B windows, C channels, H rows, W columns; 4 parameters of a window, see `draw_augmentation`.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from eventveil.training.settings import AugmentSettings

MIRRORED_GESTURES = (0, 2, 1, 6, 5, 4, 3, 7, 8, 9, 10)
"""What each of `replay.dvs_gesture.GESTURES` is in a mirror: `MIRRORED_GESTURES[target]` is the target.

A mirror makes a right arm a left one and turns the sense of a circle round, from wherever it is seen: the right arm
clockwise becomes the left arm counter-clockwise. The other gestures are done with either hand or both."""


def draw_augmentation(
    batch: int, size: tuple[int, int], generator: torch.Generator, settings: AugmentSettings
) -> torch.Tensor:
    """Draw the parameters of a batch: float32 (batch, 4), on the generator's device.

    Of each window: by how many whole pixels it moves to the right and down (a random crop of the padded window is
    nothing else), by how many degrees it then turns clockwise, and 1 where it is mirrored at the end, else 0.

    Args:
        batch: windows.
        size: width and height, pixels.
        generator: gives the same numbers whatever the settings are.
        settings: the ranges.
    """
    uniform_B4 = torch.rand((batch, 4), generator=generator, device=generator.device)
    columns = []
    for axis in (0, 1):
        farthest = int(size[axis] * settings.padding)
        # rand() is below 1, but its product with a float32 may round up to the whole.
        columns.append((uniform_B4[:, axis] * (2 * farthest + 1)).floor().clamp(max=2 * farthest) - farthest)
    columns.append((2 * uniform_B4[:, 2] - 1) * settings.rotation_deg)
    columns.append(((uniform_B4[:, 3] < 0.5) & settings.mirror).float())
    return torch.stack(columns, dim=1)


def augment(x_BCHW: torch.Tensor, parameters_B4: torch.Tensor) -> torch.Tensor:
    """Move, turn about the middle, then mirror each window, as its parameters say; beyond the edges there is nothing.

    Every pixel takes the count of the nearest one: counts stay whole numbers, as live windows have them. A mean of
    neighbours would not, and a network could tell training from life by it. All zero parameters change nothing.

    Args:
        x_BCHW: float32.
        parameters_B4: as `draw_augmentation` gives them, on any device.

    Raises:
        ValueError: not four parameters to a window.
    """
    if x_BCHW.ndim != 4 or parameters_B4.shape != (len(x_BCHW), 4):
        raise ValueError(f"expected (B, C, H, W) and (B, 4), got {tuple(x_BCHW.shape)}, {tuple(parameters_B4.shape)}")
    height, width = x_BCHW.shape[2:]
    right, down, degrees, mirror = parameters_B4.to(x_BCHW.device, torch.float32)[:, :, None, None].unbind(1)
    cos, sin = torch.cos(degrees * (math.pi / 180)), torch.sin(degrees * (math.pi / 180))
    # Where each pixel's count comes from, in pixels from the middle: the way back. By elementwise arithmetic, for a
    # product of matrices is rounded to 10 bits or fewer under autocast and TF32, and pixels would wander.
    x = (torch.arange(width, device=x_BCHW.device) - (width - 1) / 2).view(1, 1, -1) * (1 - 2 * mirror)
    y = (torch.arange(height, device=x_BCHW.device) - (height - 1) / 2).view(1, -1, 1)
    from_x = cos * x + sin * y - right
    from_y = cos * y - sin * x - down
    grid_BHW2 = torch.stack((from_x * (2 / width), from_y * (2 / height)), dim=3)
    return functional.grid_sample(x_BCHW, grid_BHW2, mode="nearest", padding_mode="zeros", align_corners=False)
