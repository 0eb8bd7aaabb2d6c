"""Prophesee EVT 3.0: 16-bit words, decoded with state.

The upper four bits of a word are its type. A word holds only what changes: a row, the lower or upper 12 bits of the
time, a column with its polarity (one event), or a mask of 12 or 8 neighbouring columns (one event per set bit).
Everything else keeps its value, across words and chunks.

Three properties of the clock matter to a decoder: the upper half of the time comes before the lower, so the lower
counts as 0 in between; the clock has 24 bits and wraps every 16.8 s; and sensors do set it back by a few microseconds,
which the decoder passes on unchanged: that is handled after the readers, for all formats.

Source: Prophesee, "EVT 3.0 Format" (docs.prophesee.ai). Words of type 1, which that page omits, address the rows of
another kind of event, whose columns must not be taken for pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from eventveil.events import EventPacket
from eventveil.io.formats.bitmask import ONE, ZERO, count_bits, make_mask_expander
from eventveil.io.formats.clock import LEFT_OUT, UNKNOWN, Clock
from eventveil.io.formats.decoder import TIME_HIGH, TypedWordDecoder, empty_columns
from eventveil.io.formats.prophesee import RawReader

ADDR_Y, OTHER_ADDR_Y, ADDR_X, VECT_BASE_X, VECT_12, VECT_8, TIME_LOW = range(7)
HALF_BITS = 12  # of the clock, which wraps every 16.8 s
NEAR_US = 1_000  # less than a step of the upper half: it steps by one, or by more and is confirmed
GROUP = 4  # single events have their own words: masks hold several
FAR = 1 << 15  # a column that masks can reach but no sensor has: a flood of masks stops counting here

_expand_mask = make_mask_expander(GROUP)


class DecoderState(NamedTuple):
    """The values set by earlier words; -1 if none has come yet."""

    high: int  # time of the last upper half that counted, or UNKNOWN
    low: int
    row: int
    column: int
    polarity: int
    outlying: bool  # whether the last upper half was left out


@njit(cache=True, nogil=True)
def _count(words: npt.NDArray[np.int16]) -> int:
    """Return an upper bound of the number of events in the words."""
    events = 0
    for i in range(words.size):
        word = int(words[i]) & 0xFFFF
        kind = word >> 12
        single = 1 if kind == ADDR_X else 0
        twelve = word & 0xFFF if kind == VECT_12 else 0
        eight = word & 0xFF if kind == VECT_8 else 0
        events += count_bits(single | twelve | eight)
    return events


@njit(cache=True, nogil=True)
def _decode(  # type: ignore[no-untyped-def]
    words: npt.NDArray[np.int16], state: DecoderState, highs, t, x, y, p, types
) -> tuple[int, int, int, DecoderState]:
    """Fill t, x, y, p (room for `_count() + GROUP`).

    Returns:
        The number of events, of events before the first time and row, of events after an outlying time, and the state.
    """
    high, low, row, column, polarity, outlying = state
    time = high + low
    timed = high != UNKNOWN and not outlying
    placed = timed and row >= 0
    n = ZERO
    timeless = lost = seen = 0
    for i in range(words.size):
        word = int(words[i]) & 0xFFFF
        kind = word >> 12
        if kind == ADDR_X:
            if placed:
                t[n], x[n], y[n], p[n] = time, word & 0x7FF, row, (word & 0x800) != 0
                n += ONE
            elif outlying and row >= 0:
                lost += 1
            else:
                timeless += 1
        elif kind == ADDR_Y:
            row = word & 0x7FF
            placed = timed
        elif kind == TIME_LOW:
            low = word & 0xFFF
            time = high + low
        elif kind == VECT_BASE_X:
            column = word & 0x7FF
            polarity = word & 0x800
        elif kind in (VECT_12, VECT_8):
            mask = word & 0xFFF if kind == VECT_12 else word & 0xFF
            if placed and column >= 0:
                n = _expand_mask(mask, n, time, column, row, polarity != 0, t, x, y, p)
            elif outlying and row >= 0 and column >= 0:
                lost += count_bits(mask)
            else:
                timeless += count_bits(mask)
            if column >= 0:
                column = min(column + (12 if kind == VECT_12 else 8), FAR)
        elif kind == TIME_HIGH:
            new = highs[seen]
            seen += 1
            outlying = new == LEFT_OUT
            if not outlying and new != high:
                low = 0
                high = new
            timed = not outlying
            placed = timed and row >= 0
            time = high + low
        else:
            if kind == OTHER_ADDR_Y:
                row = -1
                placed = False
            types[kind] += 1
    return int(n), timeless, lost, DecoderState(high, low, row, column, polarity, outlying)


class Evt3Decoder(TypedWordDecoder):
    """Decodes EVT3 bytes from a file or a camera.

    Args:
        origin_us: the recording's time at which its clock was zero.
        live: True for a camera: a jump of its clock is judged by the words at hand, and no event waits for more.
    """

    word = np.dtype("<i2")
    reasons: ClassVar[dict[int, str]] = {
        0x1: "address of another kind of event",
        0x7: "continuation word",
        0x9: "padding word",  # Lucid cameras pad their transfers with 0x9999
        0xA: "external trigger",
        0xE: "system event",
        0xF: "continuation word",
    }

    time_shift = HALF_BITS
    time_mask = (1 << HALF_BITS) - 1

    def __init__(self, origin_us: int = 0, *, live: bool = False) -> None:
        super().__init__(Clock(HALF_BITS, 1 << HALF_BITS, NEAR_US, origin_us))
        self._state = DecoderState(UNKNOWN, 0, -1, -1, 0, outlying=False)
        self._resuming = False
        self._live = live

    def resume_after_gap(self) -> None:
        """Continue after missing words: no word counts as an event until time, row and column have come again."""
        self.pending = b""
        self._state = self._state._replace(row=-1, column=-1)
        self._resuming = True

    def _decode_words(self, words: npt.NDArray[np.int16], *, final: bool) -> tuple[EventPacket, int]:
        skipped = 0
        if self._resuming:
            known = np.flatnonzero((words.view(np.uint16) >> 12) == TIME_HIGH)
            skipped = int(known[0]) if len(known) else len(words)
            self._resuming = not len(known)
        words = words[skipped:]
        highs, used = self._times_of(words, final=final or self._live)
        words = words[:used]
        t, x, y, p = empty_columns(_count(words) + GROUP)
        n, self.timeless, self.outlying, self._state = _decode(words, self._state, highs, t, x, y, p, self.types)
        return EventPacket(t[:n], x[:n], y[:n], p[:n]), skipped + used


class Evt3Reader(RawReader):
    """Reads Prophesee RAW files of EVT3 words."""

    format = "EVT3"
    encoding = "EVT3"

    def __init__(self, path: Path, **options: str) -> None:
        super().__init__(path, **options)
        self._start(Evt3Decoder(self.origin_us), self.header.size)
