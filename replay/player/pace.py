"""Recordings at the pace at which they happened, or faster, or slower: replay is a source like a camera.

Time is an argument: with a clock and a sleep of the test's own, the pace is tested without waiting.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from eventveil.events import EventPacket

SLICE_S = 0.01
"""How finely a recording is cut, in seconds of this machine's time: a camera's driver delivers about as often."""


def paced(
    packets: Iterable[EventPacket],
    *,
    speed: float = 1.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[EventPacket]:
    """Hold events back until they would have happened.

    Packets are cut into slices of 10 ms of real time. Each is released when it is over, and says in `until_us` up to
    when: where nothing moved, empty slices say that time went on. What a packet itself says in `until_us` is kept.
    Each release is timed from the first event, so that delays do not add up; who is behind does not wait.

    Args:
        packets: in time order.
        speed: 2.0 plays in half the time.
        clock: seconds, monotonic.
        sleep: waits for seconds.
    """
    slice_us = max(1, round(SLICE_S * 1e6 * speed))
    first_us: int | None = None
    began = 0.0
    end_us = 0

    def wait_for(t_us: int) -> None:
        """Sleep until the camera's time is `t_us`."""
        while (left := began + (t_us - (first_us or 0)) / (speed * 1e6) - clock()) > 0:
            sleep(left)

    for packet in packets:
        rest, known_us = packet, packet.until_us
        if first_us is None:
            if not len(rest):
                continue  # time begins with the first event, wherever that is
            first_us, began = int(rest.t[0]), clock()
            end_us = first_us + slice_us
        while (len(rest) and rest.t[-1] >= end_us) or (known_us is not None and known_us >= end_us):
            cut = int(np.searchsorted(rest.t, end_us))
            head, rest = rest[:cut], rest[cut:]
            wait_for(end_us)
            yield EventPacket(head.t, head.x, head.y, head.p, until_us=end_us)
            end_us += slice_us
        # The next packet may hold more events of this slice: no more is promised than the packet does.
        if known_us is not None and known_us <= end_us - slice_us:
            known_us = None
        due = [*map(int, rest.t[-1:]), *([] if known_us is None else [known_us])]
        if due:
            wait_for(max(due))
            yield EventPacket(rest.t, rest.x, rest.y, rest.p, until_us=known_us)
