"""Prophesee EVT 2.0: 32-bit words, each a whole event or the upper 28 bits of the time.

Source: Prophesee, "EVT 2.0 Format" (docs.prophesee.ai).
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from eventveil.events import EventPacket
from eventveil.io.formats.bitmask import ONE, ZERO
from eventveil.io.formats.decoder import TypedWordDecoder, empty_columns
from eventveil.io.formats.prophesee import RawReader

CD_OFF, CD_ON, TIME_HIGH = 0, 1, 8
LOW_BITS = 6
HIGH_WRAP = 1 << 27  # a drop of the upper part by this much or more is a wrap of the clock (every 4 h 46 min)
WRAP_US = 1 << 34


class Clock(NamedTuple):
    """The clock as set by the time words so far."""

    base: int  # microseconds before the last wrap
    high: int  # -1 before the first time word


@njit(cache=True, nogil=True)
def advance(base: int, high: int, word: int) -> tuple[int, int]:
    """Return base and upper part of the time after a time word."""
    new = word & 0xFFFFFFF
    if high - new >= HIGH_WRAP:
        base += WRAP_US
    return base, new


@njit(cache=True, nogil=True)
def _decode(  # type: ignore[no-untyped-def]
    words: npt.NDArray[np.int32], clock: Clock, t, x, y, p, types
) -> tuple[int, int, Clock]:
    """Fill t, x, y, p, each as long as `words`; return the numbers of events and timeless events and the new clock."""
    base, high = clock
    time = base + (high << LOW_BITS)
    n = ZERO
    timeless = 0
    for i in range(words.size):
        word = int(words[i])
        kind = (word >> 28) & 0xF
        if kind <= CD_ON:
            if high >= 0:
                t[n] = time + ((word >> 22) & 0x3F)
                x[n], y[n], p[n] = (word >> 11) & 0x7FF, word & 0x7FF, kind == CD_ON
                n += ONE
            else:
                timeless += 1
        elif kind == TIME_HIGH:
            base, high = advance(base, high, word)
            time = base + (high << LOW_BITS)
        else:
            types[kind] += 1
    return int(n), timeless, Clock(base, high)


class ClockedDecoder(TypedWordDecoder):
    """The common part of EVT2 and EVT2.1: the clock and the types that hold no event.

    Args:
        origin_us: the recording's time at which its clock was zero.
    """

    reasons: ClassVar[dict[int, str]] = {0xA: "external trigger", 0xE: "system event", 0xF: "continuation word"}

    def __init__(self, origin_us: int = 0) -> None:
        super().__init__()
        self._clock = Clock(origin_us, -1)

    @property
    def started(self) -> bool:
        """Return whether a time word has come."""
        return self._clock.high >= 0


class Evt2Decoder(ClockedDecoder):
    """Decodes EVT2 bytes from a file or a camera."""

    word = np.dtype("<i4")

    def _decode_words(self, words: npt.NDArray[np.int32]) -> EventPacket:
        t, x, y, p = empty_columns(words.size)
        n, self.timeless, self._clock = _decode(words, self._clock, t, x, y, p, self.types)
        return EventPacket(t[:n], x[:n], y[:n], p[:n])


class Evt2Reader(RawReader):
    """Reads Prophesee RAW files of EVT2 words."""

    format = "EVT2"
    encoding = "EVT2"

    def __init__(self, path: Path, **options: str) -> None:
        super().__init__(path, **options)
        self._start(Evt2Decoder(self.origin_us), self.header.size)
