"""The words everybody shares: sensor, event packet, window.

An event is t (int64, microseconds), x and y (uint16, pixels, y down), p (bool, True = ON, brighter). A packet holds
events as four 1-D arrays, one per field: kernels read them at the speed of memory, and a reader whose file stores
records can hand over strided views of its fields without copying. (Structured arrays, the other custom of the field,
cost twice the time per event in the histogram.)
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
    """Geometry of a camera in pixels, written WIDTHxHEIGHT.

    Raises:
        EventError: width or height is not between 1 and 65,536.
    """

    width: int
    height: int

    def __post_init__(self) -> None:
        if not (1 <= self.width <= MAX_PIXELS and 1 <= self.height <= MAX_PIXELS):
            raise EventError(f"a sensor is 1 to {MAX_PIXELS} pixels wide and high, got {self.width}x{self.height}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a geometry such as `346x260`.

        Raises:
            EventError: the text is not WIDTHxHEIGHT.
        """
        match = re.fullmatch(r"\s*(\d+)\s*[xX]\s*(\d+)\s*", text)
        if match is None:
            raise EventError(f"expected a sensor as WIDTHxHEIGHT, for example 346x260, got {text!r}")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, slots=True, eq=False)
class EventPacket:
    """Events in time order, as four 1-D arrays of one length, which may be 0.

    Args:
        t: int64, microseconds, never decreasing, neither here nor from packet to packet.
        x: uint16, pixels from the left.
        y: uint16, pixels from the top.
        p: bool, True = ON (brighter).
        until_us: the source promises that no later packet holds an event before this time. A camera that sees
            nothing moving still moves on in time, and windows can close.

    The arrays may be strided views and are not to be written to. They stay valid as long as the packet lives.
    Order and geometry are checked where events enter (`eventveil.io`), not here: this only checks the form.

    Raises:
        EventError: wrong dtype, wrong number of dimensions, or lengths that differ.
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
        """Build a packet from any array-likes, converting (and copying) where needed."""
        return cls(
            np.asarray(t).astype(np.int64, copy=False),
            np.asarray(x).astype(np.uint16, copy=False),
            np.asarray(y).astype(np.uint16, copy=False),
            np.asarray(p).astype(np.bool_, copy=False),
        )

    @classmethod
    def empty(cls, until_us: int | None = None) -> Self:
        """No events; with `until_us`, only the passing of time."""
        return cls(
            np.empty(0, np.int64), np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, np.bool_), until_us
        )

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, part: slice) -> EventPacket:
        """Views of a run of events; `until_us` is left behind, for it speaks of the whole packet."""
        return EventPacket(self.t[part], self.x[part], self.y[part], self.p[part])

    def __repr__(self) -> str:
        # Events stay out of logs and crash reports: only how many there are.
        return f"EventPacket({len(self)} events)"


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """K consecutive bins of one stream: raw, and therefore never to leave the machine.

    Attributes:
        seq: number of the window in its stream, from 0, without gaps where nothing was dropped.
        t_start_us: start of the first bin (included).
        t_end_us: end of the last bin (excluded).
        counts: uint16 (K, 2, H, W), index 0 = OFF, 1 = ON; in voxel mode float32 (B, H, W).
        events: how many events are binned in it.
    """

    seq: int
    t_start_us: int
    t_end_us: int
    counts: npt.NDArray[np.uint16] | npt.NDArray[np.float32]
    events: int

    def __repr__(self) -> str:
        return f"Window(seq={self.seq}, t_start_us={self.t_start_us}, t_end_us={self.t_end_us})"
