"""Handle events whose time goes back: refuse them, or repair and count them.

A clock that steps back (a chip was reset, two buses were merged carelessly) is repaired only on request.
`ClipDisorder` keeps the order of arrival and raises late times; `SortDisorder` keeps the times and changes the order.
Both count the late events: those with a time below that of an event before them.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from eventveil.events import EventPacket
from eventveil.io.validation.checks import mark_late

EARLIEST_US = int(np.iinfo(np.int64).min)  # before every event


class DisorderPolicy(Protocol):
    """A policy for late events.

    Attributes:
        repairs: False if late events must be refused before they get here.
        floor_us: the time before which an event would be late.
        disorders: how many late events were repaired.
    """

    repairs: bool
    floor_us: int
    disorders: int

    def push(self, packet: EventPacket) -> EventPacket:
        """Take a packet; return the events that are ready, in order. The result may be empty."""

    def finish(self) -> EventPacket:
        """Return the events held back. More packets may follow, because reading may continue after a fault."""


class RefuseDisorder:
    """Passes packets on unchanged; the caller has checked their order."""

    repairs = False

    def __init__(self) -> None:
        self.disorders = 0
        self.floor_us = EARLIEST_US

    def push(self, packet: EventPacket) -> EventPacket:
        """Return the packet unchanged."""
        if len(packet):
            self.floor_us = int(packet.t[-1])
        if packet.until_us is not None:
            self.floor_us = max(self.floor_us, packet.until_us)
        return packet

    def finish(self) -> EventPacket:
        """Return no events: none are held back."""
        return EventPacket.empty()


class ClipDisorder(RefuseDisorder):
    """Raises the time of each late event to the latest time before it."""

    repairs = True

    def push(self, packet: EventPacket) -> EventPacket:
        """Return the packet with times that never decrease; unchanged if they did not decrease."""
        late = mark_late(packet.t, self.floor_us)
        if late.any():
            self.disorders += int(np.count_nonzero(late))
            t = np.maximum.accumulate(np.maximum(packet.t, self.floor_us))
            packet = EventPacket(t, packet.x, packet.y, packet.p, packet.until_us)
        return super().push(packet)


class SortDisorder:
    """Sorts events by time, stably, holding back one packet.

    An event is sorted among those of its own packet and the one before. An event that is later still is clipped to the
    earliest time possible: packets that were returned cannot be changed.
    """

    repairs = True

    def __init__(self) -> None:
        self.disorders = 0
        self.floor_us = EARLIEST_US
        self._pending = EventPacket.empty()
        self._out = ClipDisorder()

    def push(self, packet: EventPacket) -> EventPacket:
        """Return as many events as were held back, and hold back as many as arrived."""
        if len(packet) == 0:
            return EventPacket.empty()
        late = mark_late(packet.t, self.floor_us)
        self.floor_us = max(self.floor_us, int(packet.t.max()))
        ready, self._pending = self._pending, packet[:]  # without until_us, a guarantee that disorder may have broken
        if late.any():
            self.disorders += int(np.count_nonzero(late))
            both = _sorted(ready, packet)
            ready, self._pending = both[: len(ready)], both[len(ready) :]
        return self._out.push(ready)

    def finish(self) -> EventPacket:
        """Return the events held back."""
        ready, self._pending = self._pending, EventPacket.empty()
        return self._out.push(ready)


def _sorted(first: EventPacket, second: EventPacket) -> EventPacket:
    t = np.concatenate((first.t, second.t))
    order = np.argsort(t, kind="stable")
    x = np.concatenate((first.x, second.x))[order]
    y = np.concatenate((first.y, second.y))[order]
    p = np.concatenate((first.p, second.p))[order]
    return EventPacket(t[order], x, y, p)
