"""Removes isolated events whose time lies far from all others, because of a flipped bit or a stale buffer."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from eventveil.events import EventPacket
from eventveil.io.formats.clock import LEFT_OUT, UNKNOWN, Limits, State, follow_readings
from eventveil.io.formats.reader import ANY_STEP_US

LAST_US = 1 << 61  # a single event after any silence counts, at the start and at the end: nothing contradicts it
MAX_OUTLYING_SHARE = 0.1  # of a packet's events; more are disorder, not isolated outliers
_FARTHEST_US = 1 << 61  # differences of such times fit 64 bits; no clock gets there


class OutlierFilter:
    """Removes events whose time later events do not confirm; a packet may have to wait for the next ones.

    Args:
        near_us: steps of time up to here, ahead or back, need no confirmation. `ANY_STEP_US`: none does.

    Attributes:
        left_out: how many events were left out.
    """

    def __init__(self, near_us: int) -> None:
        self.left_out = 0
        self._limits = Limits(span=1 << 62, near=near_us, wrap=-(1 << 62), last=LAST_US)  # it never wraps
        self._state = State(0, UNKNOWN if near_us < ANY_STEP_US else 0)  # where any step is near, any start is, too
        self._waiting = deque[EventPacket]()

    def is_steady(self, packet: EventPacket) -> bool:
        """Return whether a packet in order takes no long step, without a look at each event; if so, it has passed."""
        if self._waiting:
            return False
        if len(packet) == 0:
            return True
        last_us = int(packet.t[-1])
        if self._state.last == UNKNOWN or last_us - self._state.last > self._limits.near:
            return False
        self._state = State(0, last_us)
        return True

    def push(self, packet: EventPacket) -> list[EventPacket]:
        """Take a packet; return the packets of which all outliers are now known and left out, in order."""
        self._waiting.append(packet)
        return self._decide(final=False)

    def finish(self) -> list[EventPacket]:
        """Return the packets that waited for the next one: none follows."""
        return self._decide(final=True)

    def _decide(self, *, final: bool) -> list[EventPacket]:
        ready = []
        while self._waiting:
            size = len(self._waiting[0])
            t = np.concatenate([packet.t for packet in self._waiting])
            times = np.empty(len(t), np.int64)
            readings = np.clip(t, -_FARTHEST_US, _FARTHEST_US)
            decided, state = follow_readings(readings, self._state, self._limits, final, times, size)
            if decided < size:
                break
            self._state = state
            ready.append(self._select(self._waiting.popleft(), times[:size] != LEFT_OUT))
        return ready

    def _select(self, packet: EventPacket, kept: npt.NDArray[np.bool_]) -> EventPacket:
        outliers = len(packet) - int(np.count_nonzero(kept))
        if not 0 < outliers <= max(1, MAX_OUTLYING_SHARE * len(packet)):
            return packet
        self.left_out += outliers
        return EventPacket(packet.t[kept], packet.x[kept], packet.y[kept], packet.p[kept], packet.until_us)
