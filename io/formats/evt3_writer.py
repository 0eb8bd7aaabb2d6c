"""Writes Prophesee RAW files of EVT3 words.

Every event becomes one word for its column, plus one each for the row, the lower and the upper time if these have
changed. The order of the events is kept exactly, even within a microsecond. The clock of the words has 24 bits; the
header states the time at which the clock is zero (`% t0 N`, as in faery), so that other cameras' microseconds since
1970 are preserved.

Source: Prophesee, "EVT 3.0 Format" (docs.prophesee.ai).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from eventveil.errors import EventFileError
from eventveil.events import EventPacket
from eventveil.io.formats.decoder import TIME_HIGH
from eventveil.io.formats.evt3 import ADDR_X, ADDR_Y, TIME_LOW
from eventveil.io.formats.writer import Writer

MAX_PIXELS = 1 << 11
GAP_STEP = 1 << 8  # of the upper half of the clock. Longer ones come back to the same reading within a few steps, like
# a damaged word, which decoders leave out (io/formats/clock.py).
MAX_GAP_US = 1 << 40  # 12.7 days without an event: two megabytes of time words


class EncoderState(NamedTuple):
    """The values set by the words so far; -1 if none has been written yet."""

    high: int  # upper part of the time, not wrapped
    low: int
    row: int


@njit(cache=True, nogil=True)
def _encode(t, x, y, p, origin: int, state: EncoderState, words) -> tuple[int, EncoderState]:  # type: ignore[no-untyped-def]
    """Fill `words` (room for `_max_words()`); return the number of words and the new state."""
    high, low, row = state
    n = 0
    for i in range(t.size):
        time = int(t[i]) - origin
        while high != time >> 12:
            high = min(time >> 12, high + GAP_STEP)
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


def _max_words(t: npt.NDArray[np.int64], since: int) -> int:
    """Return an upper bound of the number of words: four per event, and the steps that bridge the gaps between them."""
    return 4 * len(t) + (int(t[-1]) - since) // (GAP_STEP << 12)


class Evt3Writer(Writer):
    """Writes EVT3 RAW files, for sensors of up to 2048x2048 pixels."""

    format = "EVT3"

    def begin(self) -> None:
        """Reject a sensor too large for the words; the header is written once the first event's time is known."""
        if max(self.sensor.width, self.sensor.height) > MAX_PIXELS:
            raise self._unsupported(f"expected a sensor of up to {MAX_PIXELS}x{MAX_PIXELS} pixels, got {self.sensor}")
        self._state = EncoderState(-1, 0, -1)
        self._origin = self._until = 0

    def encode(self, packet: EventPacket) -> None:
        """Write the words of a packet; the header precedes the first packet."""
        if self.events == 0:
            self._write_header(int(packet.t[0]))
        if np.ediff1d(packet.t, to_begin=packet.t[0] - self._until).max() > MAX_GAP_US:
            raise self._unsupported(f"expected no more than {MAX_GAP_US} us between two events, got a longer gap")
        words = np.empty(_max_words(packet.t, self._until), "<u2")
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

    def _unsupported(self, expected: str) -> EventFileError:
        return EventFileError(
            self.path, format=self.format, expected=expected, remedy="write AEDAT4 or NPY, which hold any recording"
        )
