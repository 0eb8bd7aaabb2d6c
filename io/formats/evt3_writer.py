"""Writes Prophesee RAW files of EVT3 words.

Every event becomes one word for its column, and one each for the row, the lower and the upper time where these have
changed: the order of the events stays as it is, to the last of those that share a microsecond. The clock of the
words has 24 bits; the header notes what time it is when the clock is zero (`% t0 N`, as faery does), so that the
microseconds since 1970 of other cameras survive.

Source: Prophesee, "EVT 3.0 Format" (docs.prophesee.ai).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from eventveil.errors import EventFileError
from eventveil.events import EventPacket
from eventveil.io.formats.evt3 import ADDR_X, ADDR_Y, HIGH_WRAP, TIME_HIGH, TIME_LOW
from eventveil.io.formats.writer import Writer

MAX_PIXELS = 1 << 11
MAX_GAP_US = 1 << 40  # 12.7 days without an event: half a megabyte of time words


class EncoderState(NamedTuple):
    """What the words so far have said; -1 where none has yet."""

    high: int  # upper part of the time, not wrapped
    low: int
    row: int


@njit(cache=True, nogil=True)
def _encode(t, x, y, p, origin: int, state: EncoderState, words) -> tuple[int, EncoderState]:  # type: ignore[no-untyped-def]
    """Fill `words`, which has room for `_most_words()`; return how many and the new state."""
    high, low, row = state
    n = 0
    for i in range(t.size):
        time = int(t[i]) - origin
        while high != time >> 12:
            # A decoder sees a wrap of the clock by a fall of half its range, so no step may be longer than that.
            high = min(time >> 12, high + HIGH_WRAP)
            words[n] = TIME_HIGH << 12 | (high & 0xFFF)
            low = 0
            n += 1
        if low != time & 0xFFF:
            low = time & 0xFFF
            words[n] = TIME_LOW << 12 | low
            n += 1
        if row != int(y[i]):
            row = int(y[i])
            words[n] = ADDR_Y << 12 | row
            n += 1
        words[n] = ADDR_X << 12 | (0x800 if p[i] else 0) | int(x[i])
        n += 1
    return n, EncoderState(high, low, row)


def _most_words(t: npt.NDArray[np.int64], since: int) -> int:
    """No more words than these hold the events: four each, and the steps that bridge the gaps between them."""
    return 4 * len(t) + (int(t[-1]) - since) // (HIGH_WRAP << 12)


class Evt3Writer(Writer):
    """Writes EVT3 RAW files, for sensors of up to 2048x2048 pixels."""

    format = "EVT3"

    def begin(self) -> None:
        """Refuse a sensor too large for the words; the header waits for the time of the first event."""
        if max(self.sensor.width, self.sensor.height) > MAX_PIXELS:
            raise self._unfit(f"expected a sensor of up to {MAX_PIXELS}x{MAX_PIXELS} pixels, got {self.sensor}")
        self._state = EncoderState(-1, 0, -1)
        self._origin = self._until = 0

    def encode(self, packet: EventPacket) -> None:
        """Write the words of a packet, and before the first the header."""
        if self.events == 0:
            self._write_header(int(packet.t[0]))
        if np.ediff1d(packet.t, to_begin=packet.t[0] - self._until).max() > MAX_GAP_US:
            raise self._unfit(f"expected no more than {MAX_GAP_US} us between two events, got a longer gap")
        words = np.empty(_most_words(packet.t, self._until), "<u2")
        n, self._state = _encode(packet.t, packet.x, packet.y, packet.p, self._origin, self._state, words)
        self.file.write(words[:n].data)
        self._until = int(packet.t[-1])

    def finish(self) -> None:
        """Write the header of a recording without events."""
        if self.events == 0:
            self._write_header(0)

    def _write_header(self, origin: int) -> None:
        self._origin = self._until = origin
        width, height = self.sensor.width, self.sensor.height
        lines = ("evt 3.0", f"format EVT3;height={height};width={width}", f"geometry {width}x{height}", f"t0 {origin}")
        self.file.write("".join(f"% {line}\n" for line in (*lines, "end")).encode("ascii"))

    def _unfit(self, expected: str) -> EventFileError:
        return EventFileError(
            self.path, format=self.format, expected=expected, remedy="write AEDAT4 or NPY, which hold any recording"
        )
