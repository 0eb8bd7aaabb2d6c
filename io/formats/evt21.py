"""Prophesee EVT 2.1: EVT 2.0 plus a second half, a mask of 32 neighbouring columns.

The upper 32 bits of a 64-bit word are a word of EVT 2.0 with the column of the mask's lowest bit. The GenX320 sends the
whole word lowest byte first, so the mask comes first; the IMX636 sends the upper half first (its recordings say
`endianness=legacy`).

Source: Prophesee, "EVT 2.1 Format" (docs.prophesee.ai).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from numba import njit

from eventveil.events import EventPacket
from eventveil.io.formats.bitmask import ZERO, count_bits, make_mask_expander
from eventveil.io.formats.clock import LEFT_OUT
from eventveil.io.formats.decoder import TIME_HIGH, empty_columns
from eventveil.io.formats.evt2 import CD_ON, ClockedDecoder
from eventveil.io.formats.prophesee import RawReader

GROUP = 2  # most words of a quiet scene hold one event or two
_expand_mask = make_mask_expander(GROUP)


@njit(cache=True, nogil=True)
def _count(heads: npt.NDArray[np.int32], masks: npt.NDArray[np.int32]) -> int:
    """Count the events in the words."""
    events = 0
    for i in range(heads.size):
        if (int(heads[i]) >> 28) & 0xF <= CD_ON:
            events += count_bits(int(masks[i]) & 0xFFFFFFFF)
    return events


@njit(cache=True, nogil=True)
def _decode(  # type: ignore[no-untyped-def]
    heads: npt.NDArray[np.int32], masks: npt.NDArray[np.int32], high: int, highs, t, x, y, p, types
) -> tuple[int, int, int, int]:
    """Fill t, x, y, p (room for `_count() + GROUP`); return what the kernel of EVT2 does."""
    n = ZERO
    timeless = outlying = seen = 0
    for i in range(heads.size):
        head = int(heads[i])
        kind = (head >> 28) & 0xF
        if kind <= CD_ON:
            mask = int(masks[i]) & 0xFFFFFFFF
            if high > LEFT_OUT:
                time = high + ((head >> 22) & 0x3F)
                n = _expand_mask(mask, n, time, (head >> 11) & 0x7FF, head & 0x7FF, kind == CD_ON, t, x, y, p)
            elif high == LEFT_OUT:
                outlying += count_bits(mask)
            else:
                timeless += count_bits(mask)
        elif kind == TIME_HIGH:
            high = highs[seen]
            seen += 1
        else:
            types[kind] += 1
    return int(n), timeless, outlying, high


class Evt21Decoder(ClockedDecoder):
    """Decodes EVT2.1 bytes from a file or a camera.

    Args:
        origin_us: the recording's time at which its clock was zero.
        legacy: True if the upper half of each word comes first.
    """

    word = np.dtype(("<i4", 2))

    def __init__(self, origin_us: int = 0, *, legacy: bool = False) -> None:
        super().__init__(origin_us)
        self.legacy = legacy

    def _decode_words(self, words: npt.NDArray[np.int32], *, final: bool) -> tuple[EventPacket, int]:
        heads, masks = (words[:, 0], words[:, 1]) if self.legacy else (words[:, 1], words[:, 0])
        highs, used = self._times_of(heads, final=final)
        heads, masks = heads[:used], masks[:used]
        t, x, y, p = empty_columns(_count(heads, masks) + GROUP)
        n, self.timeless, self.outlying, self._high = _decode(heads, masks, self._high, highs, t, x, y, p, self.types)
        return EventPacket(t[:n], x[:n], y[:n], p[:n]), used


class Evt21Reader(RawReader):
    """Reads Prophesee RAW files of EVT2.1 words, in either byte order."""

    format = "EVT2.1"
    encoding = "EVT21"

    def __init__(self, path: Path, **options: str) -> None:
        super().__init__(path, **options)
        legacy = self.header.options.get("endianness") == "legacy"
        self._start(Evt21Decoder(self.origin_us, legacy=legacy), self.header.size)
