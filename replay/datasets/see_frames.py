"""Event frames as a source of events.

Some datasets publish pictures instead of events: a picture for each 33 ms, white where the last event was ON, black
where it was OFF, grey where there was none. When and how often a pixel fired is lost: every pixel gives one event, and
all events of a frame have the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from eventveil.errors import EventFileError
from eventveil.events import EventPacket, Sensor

FRAME_US = 33_333  # a frame accumulates events for the frame time of a camera at 30 frames per second
ON, OFF = 255, 0  # pure white and pure black: the greys around them are what JPEG makes of edges


class FrameSource:
    """One packet per frame, its events at the middle of the frame's time.

    Args:
        paths: pictures in time order, all of one size.

    Attributes:
        sensor: geometry, taken from the first frame.

    Raises:
        EventFileError: the first frame cannot be read.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._next = 0
        height, width = _load(paths[0]).shape
        self.sensor = Sensor(width, height)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> EventPacket:
        """Return the events of the next frame.

        Raises:
            EventFileError: it cannot be read, or has another size. Iteration may continue with the next frame.
        """
        if self._next >= len(self._paths):
            raise StopIteration
        number, self._next = self._next, self._next + 1
        frame = _load(self._paths[number])
        height, width = frame.shape
        if (width, height) != (self.sensor.width, self.sensor.height):
            raise _fault(
                self._paths[number], f"expected a frame of {self.sensor} like the first one, got {width}x{height}"
            )
        y, x = np.nonzero((frame == ON) | (frame == OFF))
        t = np.full(len(y), number * FRAME_US + FRAME_US // 2, np.int64)
        events = EventPacket.of(t, x, y, frame[y, x] == ON)
        return EventPacket(events.t, events.x, events.y, events.p, until_us=(number + 1) * FRAME_US)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._next = len(self._paths)


def _load(path: Path) -> npt.NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError  # here, because every process of a pipeline imports the datasets

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError):
        raise _fault(path, "expected a picture, found something else") from None


def _fault(path: Path, expected: str) -> EventFileError:
    return EventFileError(
        path, format="event frame", expected=expected, remedy="fetch the sequence again", recoverable=True
    )
