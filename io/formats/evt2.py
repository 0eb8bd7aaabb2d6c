"""Prophesee EVT 2.0: 32-bit words, each a whole event or the upper 28 bits of the time.

Source: Prophesee, "EVT 2.0 Format" (docs.prophesee.ai).
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from numba import njit

from eventveil.events import EventPacket
from eventveil.io.formats.bitmask import ONE, ZERO
from eventveil.io.formats.clock import LEFT_OUT, UNKNOWN, Clock
from eventveil.io.formats.decoder import TIME_HIGH, TypedWordDecoder, empty_columns
from eventveil.io.formats.prophesee import RawReader

CD_OFF, CD_ON = 0, 1
LOW_BITS = 6
HIGH_BITS = 28  # the clock wraps every 4 h 46 min
NEAR_US = 1_000


@njit(cache=True, nogil=True)
def _decode(  # type: ignore[no-untyped-def]
    words: npt.NDArray[np.int32], high: int, highs, t, x, y, p, types
) -> tuple[int, int, int, int]:
    """Fill t, x, y, p, each as long as `words`.

    Returns:
        The number of events, of events before any time word, of events after an outlying one, and the time word's time.
    """
    n = ZERO
    timeless = outlying = seen = 0
    for i in range(words.size):
        word = int(words[i])
        kind = (word >> 28) & 0xF
        if kind <= CD_ON:
            if high > LEFT_OUT:
                t[n] = high + ((word >> 22) & 0x3F)
                x[n], y[n], p[n] = (word >> 11) & 0x7FF, word & 0x7FF, kind == CD_ON
                n += ONE
            elif high == LEFT_OUT:
                outlying += 1
            else:
                timeless += 1
        elif kind == TIME_HIGH:
            high = highs[seen]
            seen += 1
        else:
            types[kind] += 1
    return int(n), timeless, outlying, high


class ClockedDecoder(TypedWordDecoder):
    """The common part of EVT2 and EVT2.1: the clock and the types that hold no event.

    Args:
        origin_us: the recording's time at which its clock was zero.
    """

    reasons: ClassVar[dict[int, str]] = {0xA: "external trigger", 0xE: "system event", 0xF: "continuation word"}
    time_shift = 28
    time_mask = (1 << HIGH_BITS) - 1

    def __init__(self, origin_us: int = 0) -> None:
        super().__init__(Clock(HIGH_BITS, 1 << LOW_BITS, NEAR_US, origin_us))
        self._high = UNKNOWN  # the time of the last time word


class Evt2Decoder(ClockedDecoder):
    """Decodes EVT2 bytes from a file or a camera."""

    word = np.dtype("<i4")

    def _decode_words(self, words: npt.NDArray[np.int32], *, final: bool) -> tuple[EventPacket, int]:
        highs, used = self._times_of(words, final=final)
        t, x, y, p = empty_columns(used)
        n, self.timeless, self.outlying, self._high = _decode(words[:used], self._high, highs, t, x, y, p, self.types)
        return EventPacket(t[:n], x[:n], y[:n], p[:n]), used


class Evt2Reader(RawReader):
    """Reads Prophesee RAW files of EVT2 words."""

    format = "EVT2"
    encoding = "EVT2"

    def __init__(self, path: Path, **options: str) -> None:
        super().__init__(path, **options)
        self._start(Evt2Decoder(self.origin_us), self.header.size)
