"""The frames that a browser receives: binary WebSocket messages. docs/view.md specifies them.

    uint32   frames that this browser was too slow for, so far
    uint32   bytes of the header
    header   JSON in UTF-8
    payload  of a window, its picture: uint8 (channels, height, width)

Both numbers are little-endian.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

PREFIX = struct.Struct("<II")
MAX_SIDE, MAX_CHANNELS = 256, 64
"""Of a picture: a window of a camera with a million pixels would be too much for a browser."""
LARGEST = 1e30

Key = tuple[str, str]
"""The kind of a frame and its stream, or "" if it is about no single one."""


@dataclass(frozen=True, slots=True, eq=False)
class PageFrame:
    """A frame for all browsers.

    Attributes:
        key: a newer frame of the same key replaces this one where a browser has not received it yet.
        header: encoded.
        payload: of a window, its picture.
    """

    key: Key
    header: bytes
    payload: bytes = b""

    @classmethod
    def of(cls, kind: str, stream: str = "", *, payload: bytes = b"", **header: Any) -> PageFrame:
        """Encode a frame; the values of its header are plain."""
        text = json.dumps({"kind": kind, "stream": stream} | header, allow_nan=False)
        return cls((kind, stream), text.encode(), payload)

    def message(self, dropped: int) -> bytes:
        """Return the frame as a message to one browser, that has missed this many."""
        return b"".join((PREFIX.pack(dropped & 0xFFFFFFFF, len(self.header)), self.header, self.payload))


def picture_of(values_CHW: npt.NDArray[np.float32]) -> tuple[dict[str, Any], bytes]:
    """Return a window as a picture: values from 0 to 255 between its lowest and its highest, which includes 0.

    A large window is reduced to at most 256 pixels a side, each the mean of a square, and to 64 channels.

    Args:
        values_CHW: what was published.

    Returns:
        The keys `picture` (its shape), `low` and `high` of the header, and the payload. A value of the window is
        `low + (high - low) * byte / 255`.
    """
    # A publisher without keys could be any program: NaN and infinity show as 0, and differences stay finite.
    values = np.nan_to_num(values_CHW[:MAX_CHANNELS], nan=0.0, posinf=0.0, neginf=0.0).clip(-LARGEST, LARGEST)
    values = _reduced(values, -(-max(values.shape[1:]) // MAX_SIDE))
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    scale = 255 / (high - low) if high - low > 1 / LARGEST else 0.0
    levels = np.rint((values - np.float32(low)) * np.float32(scale)).clip(0, 255).astype(np.uint8)
    return {"picture": list(levels.shape), "low": low, "high": high}, levels.tobytes()


def _reduced(values: npt.NDArray[np.float32], factor: int) -> npt.NDArray[np.float32]:
    """Return the mean of each square of `factor` pixels a side; what is left over at the edges is left out."""
    if factor == 1:
        return values
    channels, height, width = values.shape
    rows, columns = min(factor, height), min(factor, width)
    kept = values[:, : height // rows * rows, : width // columns * columns]
    means: npt.NDArray[np.float32] = kept.reshape(channels, height // rows, rows, width // columns, columns).mean(
        (2, 4)
    )
    return means
