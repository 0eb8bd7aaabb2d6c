"""Convert a camera's clock to the time of its stream, which never goes back, whatever the camera's clock does.

A camera's clock restarts when the camera is plugged in, wraps after hours or minutes, may be set by the network, and
sometimes steps back by a few microseconds. So the stream's time follows the camera's clock as long as that advances
evenly; if it does not, the time that has passed on this machine decides. A few events whose time is far from those
before them say nothing about the clock until the next ones confirm it: a stale event is left out and counted.

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
JUMP_US = 1_000_000  # and ahead by this much more than the time passed here; beyond it, they need confirmation
AHEAD_US = 60_000_000  # and by this much with confirmation: a stalled network catches up
CONFIRMED = 8  # events in a row confirm each other


class CameraClock:
    """Places the packets of one camera in the time of its stream, across reconnections.

    Args:
        quiet_us: how long the camera must be silent before the stream's time advances without events.

    Attributes:
        late: events left out because the stream's time had already passed them.
        clipped: events whose time stepped back a little and was raised to the latest time before it.
        outlying: events left out because the next ones did not confirm their time.
        jumps: how often the camera's clock did not advance evenly.
    """

    def __init__(self, quiet_us: int) -> None:
        self.late = 0
        self.outlying = 0
        self.clipped = 0
        self.jumps = 0
        self._quiet_us = quiet_us
        self._shift_us = 0  # from the camera's clock to the stream's
        self._last_us = EARLIEST_US  # time of the last event, in the stream
        self._promised_us = EARLIEST_US
        self._received_ns = 0  # when the last event came
        self._back_us = BACK_US
        self._held = EventPacket.empty()  # far from the events before them, and not confirmed yet
        self._held_ns = 0  # when they came

    @property
    def held(self) -> int:
        """How many events wait for the next ones to confirm their time."""
        return len(self._held)

    @property
    def floor_us(self) -> int:
        """The time on the camera's clock before which an event would be out of order or too late."""
        floor_us = max(self._last_us, self._promised_us)
        return floor_us if floor_us == EARLIEST_US else floor_us - self._shift_us

    def can_reach(self, until_us: int, received_ns: int) -> bool:
        """Return whether the camera's clock can have advanced this far by now without confirmation."""
        if len(self._held):
            return False
        return self._last_us == EARLIEST_US or until_us + self._shift_us <= self._reach_us(received_ns, JUMP_US)

    def take(self, packet: EventPacket, received_ns: int) -> EventPacket:
        """Convert a packet that is in order, not before `floor_us` and within reach, to the stream's time."""
        if self._shift_us:
            packet = EventPacket(packet.t + self._shift_us, packet.x, packet.y, packet.p)
        if len(packet):
            self._last_us, self._received_ns = int(packet.t[-1]), received_ns
        return packet

    def place(self, packet: EventPacket, received_ns: int) -> EventPacket:
        """Convert any packet to the stream's time, in order with all packets before it.

        A few events at the end whose time is far from those before them are held back until the next call.

        Args:
            packet: times as the camera reports them.
            received_ns: when it came, on this machine's monotonic clock.
        """
        steps = np.diff(packet.t)
        breaks = np.flatnonzero((steps < -BACK_US) | (steps > JUMP_US)) + 1
        edges = [0, *map(int, breaks), len(packet)]
        runs = [packet[low:high] for low, high in pairwise(edges)]
        return concatenate([packet[:0], *(part for run in runs for part in self._confirm(run, received_ns))])

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
        self.outlying += len(self._held)
        self._held = EventPacket.empty()

    def not_before(self, until_us: int) -> None:
        """Return no more events before this time."""
        self._promised_us = max(self._promised_us, until_us)

    def _confirm(self, run: EventPacket, received_ns: int) -> list[EventPacket]:
        """Return a placed run, after the events that it confirms; none if it must wait for confirmation itself."""
        stale = self._stale(run)
        if 0 < stale < min(CONFIRMED, len(run)):
            return [*self._confirm(run[:stale], received_ns), *self._confirm(run[stale:], received_ns)]
        if not len(run):
            return []
        held, self._held = self._held, EventPacket.empty()
        placed = []
        if len(held) and self._follows(held, run, received_ns):
            placed.append(self._place(held, self._held_ns))
        else:
            self.outlying += len(held)
            if len(run) < CONFIRMED and self._is_far(run, received_ns) and self._back_us:
                self._held, self._held_ns = run, received_ns
                return []
        return [*placed, self._place(run, received_ns)]

    def _stale(self, run: EventPacket) -> int:
        """Return how many events at the start of a run are too far back, if a later one of it is not; otherwise 0."""
        if self._last_us == EARLIEST_US or not self._back_us:
            return 0
        return int(np.argmax(run.t >= self._last_us - BACK_US - self._shift_us)) if len(run) else 0

    def _follows(self, held: EventPacket, run: EventPacket, received_ns: int) -> bool:
        """Return whether a run goes on where the events held back ended, and not where those before them did."""
        if int(held.t[0]) + self._shift_us < self._last_us and not self._is_far(run, received_ns):
            return False
        return bool(run.t[0] >= held.t[-1] - BACK_US)

    def _is_far(self, run: EventPacket, received_ns: int) -> bool:
        """Return whether a run begins too far back or ahead to be the next events of the same clock."""
        first_us = int(run.t[0]) + self._shift_us
        near = self._last_us - BACK_US <= first_us <= self._reach_us(received_ns, JUMP_US)
        return self._last_us != EARLIEST_US and not near

    def _place(self, run: EventPacket, received_ns: int) -> EventPacket:
        """Place a run of events during which the clock advances evenly."""
        first_us = int(run.t[0]) + self._shift_us
        lowest_us, highest_us = self._last_us - self._back_us, self._reach_us(received_ns, AHEAD_US)
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

    def _reach_us(self, received_ns: int, ahead_us: int) -> int:
        return self._last_us + max(0, (received_ns - self._received_ns) // 1000) + ahead_us
