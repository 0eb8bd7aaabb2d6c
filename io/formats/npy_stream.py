"""Read a stored NumPy array from a stream row by row, in bounded memory.

Pickled objects are never loaded. A memory map would do the same with less code, but its pages count as memory of this
process until the whole recording is resident.

Source: the NPY format, versions 1.0 and 2.0 (numpy.lib.format).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy_format

MAX_COLUMNS = 64
MAX_ITEM = 1_024  # bytes; a damaged header could ask for gigabytes
READ_HEADER: dict[tuple[int, int], Callable[..., tuple[tuple[int, ...], bool, np.dtype[Any]]]] = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
}


class ArrayError(ValueError):
    """The array cannot be read as events. The message quotes no values."""


class ArrayStream:
    """A stored array of one or two dimensions.

    Args:
        open_stream: opens the bytes of the array, starting at its header; called once per column if the array is stored
            column by column.

    Attributes:
        rows: how many rows the header declares.
        columns: length of the second dimension, or None if there is none.
        dtype: type of an item.

    Raises:
        ArrayError: there is no NPY header, or its array cannot hold events.
    """

    def __init__(self, open_stream: Callable[[], IO[bytes]]) -> None:
        self._streams = [open_stream()]
        try:
            shape, by_column, self.dtype = _read_header(self._streams[0])
            self.rows = shape[0]
            self.columns = shape[1] if len(shape) == 2 else None
            self._by_column = by_column and self.columns is not None
            if self._by_column:
                self._open_columns(open_stream)
        except BaseException:
            self.close()
            raise

    def _open_columns(self, open_stream: Callable[[], IO[bytes]]) -> None:
        # A transposed table was saved: the columns follow each other, and each needs its own read position.
        start = self._streams[0].tell()
        self._streams += [open_stream() for _ in range((self.columns or 1) - 1)]
        for place, stream in enumerate(self._streams):
            stream.seek(start + place * self.rows * self.dtype.itemsize)

    def read(self, rows: int) -> npt.NDArray[Any]:
        """Return a copy of the next rows: (rows,) or (rows, columns), fewer if the file is truncated."""
        if self._by_column:
            parts = [self._items(stream, rows) for stream in self._streams]
            whole = min(len(part) for part in parts)
            return np.stack([part[:whole] for part in parts], axis=1)
        width = self.columns or 1
        items = self._items(self._streams[0], rows * width)
        return items if self.columns is None else items[: len(items) // width * width].reshape(-1, width)

    def _items(self, stream: IO[bytes], count: int) -> npt.NDArray[Any]:
        buffer = np.empty(count * self.dtype.itemsize, np.uint8)
        filled = int(stream.readinto(buffer))  # type: ignore[attr-defined]
        return buffer[: filled - filled % self.dtype.itemsize].view(self.dtype)

    def close(self) -> None:
        """Close the streams. May be called twice."""
        for stream in self._streams:
            stream.close()


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = npy_format.read_magic(stream)
        shape, by_column, dtype = READ_HEADER[version](stream)
    except (OSError, EOFError):
        raise
    except Exception as error:  # numpy evaluates the header: whatever the bytes raise, it is not a header
        raise ArrayError("no NPY header of version 1.0 or 2.0") from error
    if dtype.hasobject:
        raise ArrayError("an array of Python objects, which are never loaded because they can run code")
    if len(shape) not in (1, 2) or min(shape) < 0 or (len(shape) == 2 and not 1 <= shape[1] <= MAX_COLUMNS):
        raise ArrayError(f"an array of {len(shape)} dimensions that is not a table of events")
    if not 0 < dtype.itemsize <= MAX_ITEM or dtype.subdtype is not None:
        raise ArrayError(f"an array of type {dtype}")
    return shape, by_column, dtype
