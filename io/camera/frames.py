"""What a camera's process and the line say to each other, over a pair of sockets without a name.

A frame is a head of 40 bytes and a body: records of events, or JSON. Nothing is pickled, and nobody else can listen:
a pair has no address, and only the two processes hold it.

The books are kept as totals since the camera was opened, so that they balance at every frame:
`read == dropped + what the frames up to this one have brought`.
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
"""Kinds: the camera is open (JSON: what is known of it), events, nothing has come up to now, it is gone (JSON: why)."""
OVERFLOW, BACKLOG = 1, 2
"""Flags: the camera or its driver lost events; old ones were given up here. Both since the frame before."""
HEAD = struct.Struct("<BBxxIqQQQ")
MAX_BODY = 1 << 30


@dataclass(frozen=True, slots=True)
class Totals:
    """What became of the events since the camera was opened.

    Attributes:
        read: events that the driver handed over.
        dropped: events that were given up in the camera's process because they were too old or too many.
        packets: packets that the driver was made to give up unopened; how many events they held is not known.
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
        kind: as above.
        flags: as above.
        size: of the body, bytes.
        stamp_ns: when the events came to the computer, or up to when nothing came; its monotonic clock.
        totals: since the camera was opened.
    """

    kind: int
    flags: int
    size: int
    stamp_ns: int
    totals: Totals

    def pack(self) -> bytes:
        """As bytes."""
        totals = self.totals
        return HEAD.pack(
            self.kind, self.flags, self.size, self.stamp_ns, totals.read, totals.dropped, totals.packets
        )  # fmt: skip

    @classmethod
    def unpack(cls, data: bytes | bytearray) -> Head:
        """From bytes.

        Raises:
            ValueError: they are no head of a frame.
        """
        kind, flags, size, stamp_ns, read, dropped, packets = HEAD.unpack(data)
        if kind not in (OPENED, EVENTS, TICK, LOST) or size > MAX_BODY or (kind == EVENTS and size % RECORD.itemsize):
            raise ValueError("no frame of a camera's process")
        return cls(kind, flags, size, stamp_ns, Totals(read, dropped, packets))


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A frame that has come.

    Attributes:
        head: its head.
        events: (n,) records, of `EVENTS`.
        said: of `OPENED` and `LOST`.
    """

    head: Head
    events: npt.NDArray[np.void]
    said: dict[str, Any]


def words(said: dict[str, Any]) -> bytes:
    """The body of a frame that says something."""
    return json.dumps(said).encode()


def room_for(head: Head) -> npt.NDArray[Any]:
    """Where the body of a frame goes."""
    return np.empty(head.size // RECORD.itemsize, RECORD) if head.kind == EVENTS else np.empty(head.size, np.uint8)


def frame(head: Head, body: npt.NDArray[Any]) -> Frame:
    """The frame of a head and the body that was read into its room."""
    if head.kind == EVENTS:
        return Frame(head, body, {})
    return Frame(head, np.empty(0, RECORD), json.loads(body.tobytes()) if head.size else {})
