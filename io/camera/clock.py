"""Convert a camera's clock to the time of its stream, which never goes back, whatever the camera's clock does.

A camera's clock restarts when the camera is plugged in, wraps after hours or minutes, may be set by the network, and
sometimes steps back by a few microseconds. So the stream's time follows the camera's clock as long as that advances
evenly; if it does not, the time that has passed on this machine decides.

While no events come, the stream's time still advances, `quiet_us` behind this machine's, so that windows close. That is
a guarantee: events that come too late for it are left out and counted.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from eventveil.events import EventPacket
from eventveil.io.camera.device import concatenate
from eventveil.io.validation.checks import mark_late
from eventveil.io.validation.disorder import EARLIEST_US

BACK_US = 10_000  # events may step back by this much; beyond it, the clock was set, wrapped or restarted
AHEAD_US = 60_000_000  # and ahead by this much more than the time passed here: a stalled network catches up


class CameraClock:
    """Places the packets of one camera in the time of its stream, across reconnections.

    Args:
        quiet_us: how long the camera must be silent before the stream's time advances without events.

    Attributes:
        late: events left out because the stream's time had already passed them.
        clipped: events whose time stepped back a little and was raised to the latest time before it.
        jumps: how often the camera's clock did not advance evenly.
    """

    def __init__(self, quiet_us: int) -> None:
        self.late = 0
        self.clipped = 0
        self.jumps = 0
        self._quiet_us = quiet_us
        self._shift_us = 0  # from the camera's clock to the stream's
        self._last_us = EARLIEST_US  # time of the last event, in the stream
        self._promised_us = EARLIEST_US
        self._received_ns = 0  # when the last event came
        self._back_us = BACK_US

    @property
    def floor_us(self) -> int:
        """The time on the camera's clock before which an event would be out of order or too late."""
        floor_us = max(self._last_us, self._promised_us)
        return floor_us if floor_us == EARLIEST_US else floor_us - self._shift_us

    def can_reach(self, until_us: int, received_ns: int) -> bool:
        """Return whether the camera's clock can have advanced this far by now."""
        return self._last_us == EARLIEST_US or until_us + self._shift_us <= self._ahead_us(received_ns)

    def take(self, packet: EventPacket, received_ns: int) -> EventPacket:
        """Convert a packet that is in order, not before `floor_us` and within reach, to the stream's time."""
        if self._shift_us:
            packet = EventPacket(packet.t + self._shift_us, packet.x, packet.y, packet.p)
        if len(packet):
            self._last_us, self._received_ns = int(packet.t[-1]), received_ns
        return packet

    def place(self, packet: EventPacket, received_ns: int) -> EventPacket:
        """Convert any packet to the stream's time, in order with all packets before it.

        Args:
            packet: times as the camera reports them.
            received_ns: when it came, on this machine's monotonic clock.
        """
        steps = np.diff(packet.t)
        breaks = np.flatnonzero((steps < -BACK_US) | (steps > AHEAD_US)) + 1
        edges = [0, *map(int, breaks), len(packet)]
        return concatenate([self._place(packet[low:high], received_ns) for low, high in pairwise(edges)])

    def quiet(self, now_ns: int) -> EventPacket | None:
        """Advance the stream's time if no event came up to `now_ns`; return None if it is no further than before."""
        if self._last_us == EARLIEST_US:
            return None
        until_us = self._last_us + (now_ns - self._received_ns) // 1000 - self._quiet_us
        if until_us <= max(self._last_us, self._promised_us):
            return None
        self._promised_us = until_us
        return EventPacket.empty(until_us)

    def resume(self, until_us: int, at_ns: int) -> None:
        """Continue a stream that had reached `until_us` when this machine's monotonic clock was at `at_ns`."""
        self._last_us = self._promised_us = until_us
        self._received_ns = at_ns

    def reconnect(self) -> None:
        """Treat any step back in the next packet as a clock that has restarted."""
        self._back_us = 0

    def not_before(self, until_us: int) -> None:
        """Return no more events before this time."""
        self._promised_us = max(self._promised_us, until_us)

    def _place(self, run: EventPacket, received_ns: int) -> EventPacket:
        """Place a run of events during which the clock advances evenly."""
        if not len(run):
            return run
        first_us = int(run.t[0]) + self._shift_us
        lowest_us, highest_us = self._last_us - self._back_us, self._ahead_us(received_ns)
        if self._last_us != EARLIEST_US and not lowest_us <= first_us <= highest_us:
            # Shifted so that the time since the last event is the time that has passed here.
            passed_us = max(0, (received_ns - self._received_ns) // 1000)
            at_us = max(self._last_us + passed_us, self._promised_us)
            self._shift_us = at_us - int(run.t[0])
            self.jumps += 1
        self._back_us = BACK_US
        return self.take(self._in_order(run), received_ns)

    def _in_order(self, run: EventPacket) -> EventPacket:
        """Leave out events that are too late; raise times that step back. In the camera's time."""
        if self._promised_us != EARLIEST_US:
            punctual = run.t >= self._promised_us - self._shift_us
            self.late += len(run) - int(np.count_nonzero(punctual))
            run = EventPacket(run.t[punctual], run.x[punctual], run.y[punctual], run.p[punctual])
        floor_us = EARLIEST_US if self._last_us == EARLIEST_US else self._last_us - self._shift_us
        late = mark_late(run.t, floor_us)
        if not late.any():
            return run
        self.clipped += int(np.count_nonzero(late))
        return EventPacket(np.maximum.accumulate(np.maximum(run.t, floor_us)), run.x, run.y, run.p)

    def _ahead_us(self, received_ns: int) -> int:
        return self._last_us + max(0, (received_ns - self._received_ns) // 1000) + AHEAD_US
