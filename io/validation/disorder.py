"""What to do with events whose time goes back: refuse them, or put them right and count them.

A clock that steps back (a chip that was reset, two buses merged without care) is repaired only on demand.
`ClipDisorder` keeps the order of arrival and raises late times; `SortDisorder` keeps the times and changes the order.
Both count the same thing: events that came with a time below that of an event before them.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from eventveil.events import EventPacket
from eventveil.io.validation.checks import earlier

DAWN_US = int(np.iinfo(np.int64).min)  # before every event


class Order(Protocol):
    """A way with disorder.

    Attributes:
        repairs: False where an event that is late is to be refused before it gets here.
        floor_us: the time before which an event would be late.
        disorders: how many late events were put right.
    """

    repairs: bool
    floor_us: int
    disorders: int

    def push(self, packet: EventPacket) -> EventPacket:
        """Take a packet; return what can go out now, in order. It may be empty."""

    def finish(self) -> EventPacket:
        """Return what is held back. Further packets may follow, for a reading may go on behind a fault."""


class RefuseDisorder:
    """Lets through packets that have been found in order."""

    repairs = False

    def __init__(self) -> None:
        self.disorders = 0
        self.floor_us = DAWN_US

    def push(self, packet: EventPacket) -> EventPacket:
        """Return the packet as it came."""
        if len(packet):
            self.floor_us = int(packet.t[-1])
        if packet.until_us is not None:
            self.floor_us = max(self.floor_us, packet.until_us)
        return packet

    def finish(self) -> EventPacket:
        """Nothing is held back."""
        return EventPacket.empty()


class ClipDisorder(RefuseDisorder):
    """Raises the time of each late event to the latest time before it."""

    repairs = True

    def push(self, packet: EventPacket) -> EventPacket:
        """Return the packet with times that never decrease; as it came, where they do not."""
        late = earlier(packet.t, self.floor_us)
        if late.any():
            self.disorders += int(np.count_nonzero(late))
            t = np.maximum.accumulate(np.maximum(packet.t, self.floor_us))
            packet = EventPacket(t, packet.x, packet.y, packet.p, packet.until_us)
        return super().push(packet)


class SortDisorder:
    """Sorts events by time, stably, holding back one packet.

    An event finds its place among those of its own packet and the one before. One that is later still is clipped to
    the earliest time that is left to it: packets that were let out cannot be called back.
    """

    repairs = True

    def __init__(self) -> None:
        self.disorders = 0
        self.floor_us = DAWN_US
        self._held = EventPacket.empty()
        self._out = ClipDisorder()

    def push(self, packet: EventPacket) -> EventPacket:
        """Return as many events as were held back, and hold back as many as came."""
        if len(packet) == 0:
            return EventPacket.empty()
        late = earlier(packet.t, self.floor_us)
        self.floor_us = max(self.floor_us, int(packet.t.max()))
        ready, self._held = self._held, packet[:]  # without until_us, a promise that disorder may have broken
        if late.any():
            self.disorders += int(np.count_nonzero(late))
            both = _sorted(ready, packet)
            ready, self._held = both[: len(ready)], both[len(ready) :]
        return self._out.push(ready)

    def finish(self) -> EventPacket:
        """Return what is held back."""
        ready, self._held = self._held, EventPacket.empty()
        return self._out.push(ready)


def _sorted(first: EventPacket, second: EventPacket) -> EventPacket:
    t = np.concatenate((first.t, second.t))
    order = np.argsort(t, kind="stable")
    x = np.concatenate((first.x, second.x))[order]
    y = np.concatenate((first.y, second.y))[order]
    p = np.concatenate((first.p, second.p))[order]
    return EventPacket(t[order], x, y, p)
