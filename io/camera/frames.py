"""The frames that a camera's process sends to the pipeline, over an unnamed socket pair.

A frame is a head of 40 bytes and a body: event records, or JSON. Nothing is pickled, and no other process can listen:
a socket pair has no address, and only the two processes hold it.

Each head holds totals since the camera was opened, so that the counts balance at every frame:
`read == dropped + events in all frames up to this one`.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eventveil.io.formats.aedat4 import RECORD

OPENED, EVENTS, TICK, LOST = 1, 2, 3, 4
"""Kinds: the camera is open (JSON: its `CameraInfo`), events, no events up to now, the camera is gone (JSON: why)."""
OVERFLOW, BACKLOG = 1, 2
"""Flags, since the previous frame: the camera or its driver lost events; old events were discarded here."""
HEAD = struct.Struct("<BBxxIqQQQ")
MAX_BODY = 1 << 30


@dataclass(frozen=True, slots=True)
class Totals:
    """Event counts since the camera was opened.

    Attributes:
        read: events that the driver delivered.
        dropped: events that the camera's process discarded because they were too old or its queue was full.
        packets: packets that the driver discarded unread; how many events they held is unknown.
    """

    read: int = 0
    dropped: int = 0
    packets: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(self.read + other.read, self.dropped + other.dropped, self.packets + other.packets)


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """The head of a frame.

    Attributes:
        kind: one of the kinds above.
        flags: the flags above.
        size: bytes of the body.
        stamp_ns: when the events reached the computer, or the time up to which none came; its monotonic clock.
        totals: counts since the camera was opened.
    """

    kind: int
    flags: int
    size: int
    stamp_ns: int
    totals: Totals

    def pack(self) -> bytes:
        """Return the head as bytes."""
        totals = self.totals
        return HEAD.pack(
            self.kind, self.flags, self.size, self.stamp_ns, totals.read, totals.dropped, totals.packets
        )  # fmt: skip

    @classmethod
    def unpack(cls, data: bytes | bytearray) -> Head:
        """Parse a head.

        Raises:
            ValueError: the bytes are not the head of a frame.
        """
        kind, flags, size, stamp_ns, read, dropped, packets = HEAD.unpack(data)
        if kind not in (OPENED, EVENTS, TICK, LOST) or size > MAX_BODY or (kind == EVENTS and size % RECORD.itemsize):
            raise ValueError("not a frame of a camera's process")
        return cls(kind, flags, size, stamp_ns, Totals(read, dropped, packets))


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A received frame.

    Attributes:
        head: its head.
        events: (n,) records, for kind `EVENTS`.
        content: the JSON values, for kinds `OPENED` and `LOST`.
    """

    head: Head
    events: npt.NDArray[np.void]
    content: dict[str, Any]


def encode_json(content: dict[str, Any]) -> bytes:
    """Return the body of an `OPENED` or `LOST` frame."""
    return json.dumps(content).encode()


def body_buffer(head: Head) -> npt.NDArray[Any]:
    """Allocate the body of a frame."""
    return np.empty(head.size // RECORD.itemsize, RECORD) if head.kind == EVENTS else np.empty(head.size, np.uint8)


def make_frame(head: Head, body: npt.NDArray[Any]) -> Frame:
    """Build a frame from its head and the body read into its buffer."""
    if head.kind == EVENTS:
        return Frame(head, body, {})
    return Frame(head, np.empty(0, RECORD), json.loads(body.tobytes()) if head.size else {})
