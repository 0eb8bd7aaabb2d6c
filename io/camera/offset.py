"""Estimates when a moment of a camera's stream happened on this machine's clock.

Events arrive after they happened: drivers and networks collect them, and a busy machine is late to read them. How long
that takes depends on what the camera sees, so a single arrival is a poor estimate and would reveal too much. Windows
are released by this estimate. It follows the earliest arrivals of the last minute, and only slowly.
"""

from __future__ import annotations

from collections import deque

SPAN_NS = 60_000_000_000  # the earliest arrival in this time counts
SLEW_PPM = 200  # clocks of cameras and computers drift apart by less
EARLY_NS = 100_000_000  # an event that arrives this long before it happens proves the estimate wrong


class ClockOffset:
    """Follows the difference between this machine's monotonic clock and the time of one stream."""

    def __init__(self) -> None:
        self._offset_ns: int | None = None
        self._at_us = 0  # the latest time that was requested: the estimate moves from there on
        self._earliest: deque[tuple[int, int]] = deque()  # (arrival, offset), both increasing

    def start(self, t_us: int, at_ns: int) -> None:
        """Take it as known when the stream's time was `t_us`."""
        self._offset_ns, self._at_us = at_ns - t_us * 1000, t_us
        self._earliest.clear()

    def observe(self, t_us: int, received_ns: int) -> None:
        """Note the arrival of an event that happened at `t_us`."""
        offset_ns = received_ns - t_us * 1000
        if self._offset_ns is None or offset_ns < self._offset_ns - EARLY_NS:
            self.start(t_us, received_ns)
        while self._earliest and self._earliest[-1][1] >= offset_ns:
            self._earliest.pop()
        self._earliest.append((received_ns, offset_ns))
        while self._earliest[0][0] < received_ns - SPAN_NS:
            self._earliest.popleft()

    def at_ns(self, t_us: int) -> int:
        """Return when the stream's time was `t_us`. From call to call, the estimate moves by `SLEW_PPM` at most."""
        assert self._offset_ns is not None, "before its first event, a stream has no time"
        if self._earliest:
            most_ns = max(0, t_us - self._at_us) * SLEW_PPM // 1000
            self._offset_ns += max(-most_ns, min(most_ns, self._earliest[0][1] - self._offset_ns))
        self._at_us = max(self._at_us, t_us)
        return t_us * 1000 + self._offset_ns
