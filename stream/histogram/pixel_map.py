"""From sensor pixels to histogram cells: crop, thin out, scale down and flip as two lookups.

All of these treat columns apart from rows. So each is a table, made once, and the pass over the events pays two loads
for the whole geometry. A table has one entry for every coordinate an event can hold (a uint16), which makes any
coordinate a safe index; what lies outside leads to a sum no cell has.

Where pixels are neither scaled nor flipped, arithmetic gives the same cells; the histogram's kernel makes use of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from eventveil.errors import EventError
from eventveil.events import MAX_PIXELS, Sensor

MAX_CELLS = 2**30  # twice this many, the cells of both polarities, must still fit an int32


@dataclass(frozen=True, slots=True, eq=False)
class PixelMap:
    """Where each sensor pixel is counted: in cell `columns[x] + rows[y]`, or nowhere if that is not below `cells`.

    Attributes:
        left: first column of the sensor that is kept.
        top: first row of the sensor that is kept.
        width: columns of the histogram.
        height: rows of the histogram.
        unscaled: whether the cell is `(y - top) * width + (x - left)`, neither scaled nor flipped.
        columns: uint32 (65536,), column of the cell, or `cells` where x is outside.
        rows: uint32 (65536,), row of the cell times `width`, or `cells` where y is outside.
    """

    left: int
    top: int
    width: int
    height: int
    unscaled: bool
    columns: npt.NDArray[np.uint32]
    rows: npt.NDArray[np.uint32]

    @property
    def cells(self) -> int:
        """How many cells one histogram of one polarity has."""
        return self.width * self.height

    @classmethod
    def of(
        cls,
        sensor: Sensor,
        size: tuple[int, int] | None = None,
        crop: tuple[int, int, int, int] | None = None,
        *,
        field: tuple[int, int] | None = None,
        flip_x: bool = False,
        flip_y: bool = False,
    ) -> Self:
        """Crop, then thin out to the field, then scale, then flip.

        Args:
            sensor: geometry of the camera.
            size: (width, height) of the result, not larger than what is kept of the sensor; None keeps every pixel.
            crop: (x, y, width, height) in sensor pixels; None keeps the whole sensor.
            field: (width, height): look at so many columns and rows of what is kept, evenly spread, and leave out the
                pixels between them, as a camera of fewer pixels would; None, or more than are kept, looks at all.
            flip_x: mirror left and right: the result's columns in reverse order.
            flip_y: mirror top and bottom.

        Raises:
            EventError: the crop leaves the sensor, or the size is larger than the crop or the field.
        """
        left, top, kept_width, kept_height = _checked_crop(sensor, crop)
        seen_width, seen_height = kept_width, kept_height
        if field is not None:
            seen_width, seen_height = min(field[0], kept_width), min(field[1], kept_height)
        width, height = _checked_size(size, seen_width, seen_height)
        cells = width * height
        whole = (width, height) == (kept_width, kept_height)
        return cls(
            left,
            top,
            width,
            height,
            unscaled=whole and not (flip_x or flip_y),
            columns=_table(left, kept_width, seen_width, width, flip=flip_x, stride=1, outside=cells),
            rows=_table(top, kept_height, seen_height, height, flip=flip_y, stride=width, outside=cells),
        )


def centred(sensor: Sensor, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """The largest part in the middle of a sensor that has the aspect of `shape`: (x, y, width, height) in pixels.

    Args:
        sensor: geometry of the camera.
        shape: (width, height), of which only the ratio counts.
    """
    width = min(sensor.width, max(1, sensor.height * shape[0] // shape[1]))
    height = min(sensor.height, max(1, sensor.width * shape[1] // shape[0]))
    return (sensor.width - width) // 2, (sensor.height - height) // 2, width, height


def _checked_crop(sensor: Sensor, crop: tuple[int, int, int, int] | None) -> tuple[int, int, int, int]:
    if crop is None:
        return 0, 0, sensor.width, sensor.height
    x, y, width, height = crop
    if not (x >= 0 and y >= 0 and 1 <= width <= sensor.width - x and 1 <= height <= sensor.height - y):
        raise EventError(f"expected a crop (x, y, width, height) inside the {sensor} sensor, got {crop}")
    return crop


def _checked_size(size: tuple[int, int] | None, kept_width: int, kept_height: int) -> tuple[int, int]:
    width, height = (kept_width, kept_height) if size is None else size
    if not (1 <= width <= kept_width and 1 <= height <= kept_height):
        raise EventError(
            f"expected a size from 1x1 to the {kept_width}x{kept_height} pixels that are kept (it only scales down), "
            f"got {width}x{height}"
        )
    if width * height > MAX_CELLS:
        raise EventError(f"expected a histogram of at most {MAX_CELLS} cells, got {width}x{height}; set a size or crop")
    return width, height


def _table(
    first: int, kept: int, seen: int, cells: int, *, flip: bool, stride: int, outside: int
) -> npt.NDArray[np.uint32]:
    """Index of the cell, times `stride`, for each of the 65,536 coordinates; the one at `first` is in cell 0.

    Of the `kept` coordinates `seen` are looked at: the middle one of each of as many equal parts.
    """
    number = np.arange(seen, dtype=np.int64)
    index = number * cells // seen
    if flip:
        index = cells - 1 - index
    table = np.full(MAX_PIXELS, outside, np.uint32)
    table[first + (2 * number + 1) * kept // (2 * seen)] = index * stride
    return table
