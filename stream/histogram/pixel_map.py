"""Maps sensor pixels to histogram cells: crops, thins out, scales down and flips with two table lookups.

All of these treat columns and rows separately, so each is a table, built once: the whole geometry costs two loads per
event. A table has one entry for every coordinate that an event can hold (a uint16), so that any coordinate is a safe
index; coordinates outside map to a sum that no cell has.

If pixels are neither scaled nor flipped, arithmetic gives the same cells; the histogram's kernel uses that.
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
    """The cell that counts each sensor pixel: `columns[x] + rows[y]`, or none if that is not below `cells`.

    Attributes:
        left: first column of the sensor that is kept.
        top: first row of the sensor that is kept.
        width: number of columns of the histogram.
        height: number of rows of the histogram.
        unscaled: whether the cell is `(y - top) * width + (x - left)`, neither scaled nor flipped.
        columns: uint32 (65536,), column of the cell, or `cells` if x is outside.
        rows: uint32 (65536,), row of the cell times `width`, or `cells` if y is outside.
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
        """Number of cells of one histogram of one polarity."""
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
        """Build a map that crops, then thins out to the field, then scales, then flips.

        Args:
            sensor: geometry of the camera.
            size: (width, height) of the result, not larger than the kept part of the sensor; None keeps every pixel.
            crop: (x, y, width, height) in sensor pixels; None keeps the whole sensor.
            field: (width, height): use this many evenly spaced columns and rows of the kept part and leave out the
                pixels between them, as a camera with fewer pixels would; None, or more than are kept, uses all.
            flip_x: mirror left and right: the result's columns in reverse order.
            flip_y: mirror top and bottom.

        Raises:
            EventError: the crop exceeds the sensor, or the size exceeds the crop or the field.
        """
        left, top, kept_width, kept_height = _checked_crop(sensor, crop)
        used_width, used_height = kept_width, kept_height
        if field is not None:
            used_width, used_height = min(field[0], kept_width), min(field[1], kept_height)
        width, height = _checked_size(size, used_width, used_height)
        cells = width * height
        whole = (width, height) == (kept_width, kept_height)
        return cls(
            left,
            top,
            width,
            height,
            unscaled=whole and not (flip_x or flip_y),
            columns=_table(left, kept_width, used_width, width, flip=flip_x, stride=1, outside=cells),
            rows=_table(top, kept_height, used_height, height, flip=flip_y, stride=width, outside=cells),
        )


def centred(sensor: Sensor, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the largest centred crop with the aspect ratio of `shape`: (x, y, width, height) in sensor pixels.

    Args:
        sensor: geometry of the camera.
        shape: (width, height); only the ratio counts.
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
    first: int, kept: int, used: int, cells: int, *, flip: bool, stride: int, outside: int
) -> npt.NDArray[np.uint32]:
    """Return the index of the cell, times `stride`, for each of the 65,536 coordinates; `first` is in cell 0.

    Of the `kept` coordinates, `used` are counted: the middle one of each of as many equal parts.
    """
    number = np.arange(used, dtype=np.int64)
    index = number * cells // used
    if flip:
        index = cells - 1 - index
    table = np.full(MAX_PIXELS, outside, np.uint32)
    table[first + (2 * number + 1) * kept // (2 * used)] = index * stride
    return table
