"""The types that all of eventveil shares: sensor, event packet, window.

An event is t (int64, microseconds), x and y (uint16, pixels, y down) and p (bool, True = ON, brighter). A packet holds
events as four 1-D arrays, one per field: kernels read them at memory speed, and a reader whose file stores records can
return strided views of its fields without copying. (Structured arrays, the other convention in the field, take twice
the time per event in the histogram.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from eventveil.errors import EventError

MAX_PIXELS = 65_536  # a coordinate is a uint16


@dataclass(frozen=True, slots=True)
class Sensor:
    """The size of a camera's pixel array, written WIDTHxHEIGHT.

    Args:
        width: pixels, 1 to 65,536.
        height: pixels, 1 to 65,536.

    Raises:
        EventError: width or height is out of range.

    Example:
        >>> sensor = Sensor.parse("346x260")
        >>> sensor
        Sensor(width=346, height=260)
        >>> print(sensor)
        346x260
    """

    width: int
    height: int

    def __post_init__(self) -> None:
        if not (1 <= self.width <= MAX_PIXELS and 1 <= self.height <= MAX_PIXELS):
            raise EventError(f"a sensor is 1 to {MAX_PIXELS} pixels wide and high, got {self.width}x{self.height}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a geometry such as `346x260`; spaces around the numbers and a capital X are allowed.

        Raises:
            EventError: the text is not WIDTHxHEIGHT, or a number is out of range.
        """
        match = re.fullmatch(r"\s*(\d+)\s*[xX]\s*(\d+)\s*", text)
        if match is None:
            raise EventError(f"expected a sensor as WIDTHxHEIGHT, for example 346x260, got {text!r}")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, slots=True, eq=False)
class EventPacket:
    """Events in time order, as four 1-D arrays of the same length n, which may be 0.

    Args:
        t: int64 (n,), microseconds, never decreasing, within a packet and from packet to packet.
        x: uint16 (n,), pixels from the left.
        y: uint16 (n,), pixels from the top.
        p: bool (n,), True = ON (brighter).
        until_us: microseconds, or None. The source guarantees that no later packet holds an event before this time, so
            windows can close while nothing moves in front of a camera.

    The arrays may be strided views; do not write to them. They stay valid as long as the packet exists.
    Only dtypes and shapes are checked here; order and geometry are checked where events enter (`eventveil.io`).

    Raises:
        EventError: wrong dtype, wrong number of dimensions, or different lengths.

    Example:
        >>> packet = EventPacket.of(t=[10, 25, 40], x=[3, 4, 4], y=[7, 7, 8], p=[1, 0, 1])
        >>> packet
        EventPacket(3 events)
        >>> packet[1:].t.tolist(), packet.p.tolist()
        ([25, 40], [True, False, True])
    """

    t: npt.NDArray[np.int64]
    x: npt.NDArray[np.uint16]
    y: npt.NDArray[np.uint16]
    p: npt.NDArray[np.bool_]
    until_us: int | None = None

    def __post_init__(self) -> None:
        n = self.t.shape
        for name, dtype in (("t", np.int64), ("x", np.uint16), ("y", np.uint16), ("p", np.bool_)):
            array = getattr(self, name)
            if array.dtype != dtype or array.ndim != 1 or array.shape != n:
                raise EventError(
                    f"an EventPacket takes {name} as 1-D {np.dtype(dtype).name} of {n[0] if n else 0} events, "
                    f"got {array.dtype} of shape {array.shape}; build it with EventPacket.of() to convert"
                )

    @classmethod
    def of(cls, t: Any, x: Any, y: Any, p: Any) -> Self:
        """Build a packet from any array-likes, converting (and copying) if needed."""
        return cls(
            np.asarray(t).astype(np.int64, copy=False),
            np.asarray(x).astype(np.uint16, copy=False),
            np.asarray(y).astype(np.uint16, copy=False),
            np.asarray(p).astype(np.bool_, copy=False),
        )

    @classmethod
    def empty(cls, until_us: int | None = None) -> Self:
        """Return a packet without events; with `until_us`, it only states how far time has advanced."""
        return cls(
            np.empty(0, np.int64), np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, np.bool_), until_us
        )

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, part: slice) -> EventPacket:
        """Return views of a slice of the events, without `until_us`, which refers to the whole packet."""
        return EventPacket(self.t[part], self.x[part], self.y[part], self.p[part])

    def __repr__(self) -> str:
        # Keeps events out of logs and crash reports: only their number is printed.
        return f"EventPacket({len(self)} events)"


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """K consecutive time bins of one stream. A window is raw data and must never leave the machine.

    Attributes:
        seq: number of the window in its stream, from 0, without gaps unless windows were dropped.
        t_start_us: start of the first bin, microseconds (included).
        t_end_us: end of the last bin, microseconds (excluded).
        counts: events per bin, polarity and pixel: uint16 (K, 2, H, W), polarity 0 = OFF, 1 = ON; in voxel mode float32
            (B, H, W) with B bins. H and W are the window's height and width in pixels.
        events: how many events the window holds.

    Example:
        >>> counts = np.zeros((5, 2, 128, 128), np.uint16)
        >>> window = Window(seq=0, t_start_us=0, t_end_us=250_000, counts=counts, events=0)
        >>> window
        Window(seq=0, t_start_us=0, t_end_us=250000)
        >>> window.counts.shape
        (5, 2, 128, 128)
    """

    seq: int
    t_start_us: int
    t_end_us: int
    counts: npt.NDArray[np.uint16] | npt.NDArray[np.float32]
    events: int

    def __repr__(self) -> str:
        return f"Window(seq={self.seq}, t_start_us={self.t_start_us}, t_end_us={self.t_end_us})"
