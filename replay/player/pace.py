"""Plays recordings at the pace at which they happened, or faster, or slower, as a camera would deliver them.

The clock and the sleep are arguments, so tests of the pace need not wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from eventveil.events import EventPacket

SLICE_S = 0.01
"""Length of a slice, in seconds of this machine's time: a camera's driver delivers about as often."""


class Pace:
    """When each moment of a stream is due on this machine. Its first event is due at once, the rest accordingly later.

    Args:
        speed: 2.0 plays in half the time.
        clock: returns seconds, monotonic.
    """

    def __init__(self, speed: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.slice_us = max(1, round(SLICE_S * 1e6 * speed))
        self.clock = clock
        self._speed = speed
        self._first_us: int | None = None
        self._started_s = 0.0

    def begin(self, first_us: int) -> None:
        """The stream's first event is due now."""
        self._first_us, self._started_s = first_us, self.clock()

    @property
    def begun(self) -> bool:
        """Whether the first event has come: before it, nothing is due at any time."""
        return self._first_us is not None

    def due_s(self, t_us: int) -> float:
        """Return when the stream's time is `t_us`, by the clock."""
        assert self._first_us is not None, "time begins with the first event"
        return self._started_s + (t_us - self._first_us) / (self._speed * 1e6)


def paced(
    packets: Iterable[EventPacket], pace: Pace, *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[EventPacket]:
    """Hold events back until they would have happened.

    Packets are cut into slices of 10 ms of real time. A slice is released at its end and gives that end as `until_us`;
    where nothing moves, empty slices show that time advances. The `until_us` of a packet itself is kept. Each release
    is timed from the first event, so delays do not add up; a late release does not wait.

    Args:
        packets: in time order.
        pace: a new one; it begins with the first event.
        sleep: waits for a number of seconds.
    """
    end_us = 0

    def wait_for(t_us: int) -> None:
        """Sleep until the stream's time is `t_us`."""
        while (left_s := pace.due_s(t_us) - pace.clock()) > 0:
            sleep(left_s)

    for packet in packets:
        rest, promised_us = packet, packet.until_us
        if not pace.begun:
            if not len(rest):
                continue  # time begins with the first event, whatever its time
            pace.begin(int(rest.t[0]))
            end_us = int(rest.t[0]) + pace.slice_us
        while (len(rest) and rest.t[-1] >= end_us) or (promised_us is not None and promised_us >= end_us):
            cut = int(np.searchsorted(rest.t, end_us))
            head, rest = rest[:cut], rest[cut:]
            wait_for(end_us)
            yield EventPacket(head.t, head.x, head.y, head.p, until_us=end_us)
            end_us += pace.slice_us
        # The next packet may hold more events of this slice, so guarantee no more than the packet does.
        if promised_us is not None and promised_us <= end_us - pace.slice_us:
            promised_us = None
        due_us = [*map(int, rest.t[-1:]), *([] if promised_us is None else [promised_us])]
        if due_us:
            wait_for(max(due_us))
            yield EventPacket(rest.t, rest.x, rest.y, rest.p, until_us=promised_us)
