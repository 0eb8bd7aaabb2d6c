"""The box around a window's events, resized to the size of the window: how person re-identification frames a person.

A window is counted at full resolution. Once it closes, the smallest box that holds all its events is cut out, if asked
padded with zeros to a square, and resized by nearest neighbour, which invents no values. The non-zero values of voxel
grids are normalised before that, at full resolution.

Source: the preprocessing of Ahmad et al., Person Re-Identification without Identification via Event Anonymization,
ICCV 2023 ("events", voxel grids), and of Bendig et al., AnonyNoise, WACV 2025 ("square", counts), on Event-ReId.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from eventveil.events import EventPacket
from eventveil.stream.histogram.pixel_map import PixelMap

Box = Literal["events", "square"]


class EventBox:
    """The box of the open window.

    Args:
        pixels: the cell of each sensor pixel.
        size: (W, H) of the result.
        box: "events": the box is resized as it is, and may change its aspect ratio; "square": it is padded first.
    """

    def __init__(self, pixels: PixelMap, size: tuple[int, int], box: Box) -> None:
        self._pixels = pixels
        self._size = size
        self._square = box == "square"
        self._corners: tuple[int, int, int, int] | None = None

    def see(self, packet: EventPacket, begin: int, stop: int, start_us: int) -> None:
        """Extend the box to the packet's events from `begin` to `stop`, except those before `start_us`."""
        part = slice(begin, stop)
        column, row = self._pixels.columns[packet.x[part]], self._pixels.rows[packet.y[part]]
        counted = (packet.t[part] >= start_us) & (column.astype(np.int64) + row < self._pixels.cells)
        if not counted.any():
            return
        x, y = column[counted], row[counted] // self._pixels.width
        left, top, right, bottom = int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1
        if self._corners is not None:
            left, top = min(left, self._corners[0]), min(top, self._corners[1])
            right, bottom = max(right, self._corners[2]), max(bottom, self._corners[3])
        self._corners = left, top, right, bottom

    def take(self, counts: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the box of a window's counts (..., H, W) in the size of the result, and start the next one."""
        corners, self._corners = self._corners, None
        width, height = self._size
        if corners is None:
            return np.zeros((*counts.shape[:-2], height, width), counts.dtype)
        left, top, right, bottom = corners
        inside = counts[..., top:bottom, left:right]
        if inside.dtype == np.float32:
            inside = normalised(inside)
        if self._square:
            inside = padded_to_square(inside)
        return nearest(inside, self._size)


def normalised(grid: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return a grid whose non-zero values have mean 0 and standard deviation 1; equal values become 0, zeros stay."""
    nonzero = grid != 0
    values = grid[nonzero].astype(np.float64)
    if not len(values):
        return grid
    out = np.zeros_like(grid)
    deviation = values.std()
    out[nonzero] = (values - values.mean()) / (deviation if deviation > 1e-6 else 1.0)
    return out


def padded_to_square(counts: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Pad (..., H, W) with zeros to (..., S, S), S the larger of both; the picture stays in the middle."""
    height, width = counts.shape[-2:]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    out = np.zeros((*counts.shape[:-2], side, side), counts.dtype)
    out[..., top : top + height, left : left + width] = counts
    return out


def nearest(counts: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """Resize (..., h, w) to (..., H, W) by nearest neighbour: row i is row floor(i h / H), columns likewise."""
    width, height = size
    rows = np.arange(height) * counts.shape[-2] // height
    columns = np.arange(width) * counts.shape[-1] // width
    return np.ascontiguousarray(counts[..., rows[:, None], columns])
