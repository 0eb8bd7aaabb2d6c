"""Prophesee DAT: 8-byte events of a 32-bit time in microseconds and the pixel with its polarity.

The data sets of the first cameras (N-CARS) call their events "2d", type 0; later tools call them "cd", type 12.
Both have the same layout.

Source: Prophesee, "DAT file format" (docs.prophesee.ai).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from numba import njit

from eventveil.events import EventPacket
from eventveil.io.formats.clock import LEFT_OUT, Clock
from eventveil.io.formats.decoder import WordDecoder, empty_columns
from eventveil.io.formats.prophesee import PropheseeReader, parse_header
from eventveil.io.formats.reader import ANY_STEP_US, NEAR_US

EVENT_TYPES = {0x00: "2d", 0x0C: "cd"}
EVENT_BYTES = 8
CLOCK_BITS = 32  # the clock wraps every 71.6 min


@njit(cache=True, nogil=True)
def _decode(words: npt.NDArray[np.int32], times, t, x, y, p) -> int:  # type: ignore[no-untyped-def]
    """Fill t, x, y, p from (n, 2) words, without those whose time was left out; return the number of events."""
    n = 0
    for i in range(words.shape[0]):
        pixel = int(words[i, 1])
        t[n], x[n], y[n] = times[i], pixel & 0x3FFF, (pixel >> 14) & 0x3FFF
        p[n] = (pixel >> 28) & 1 != 0
        n += times[i] != LEFT_OUT
    return n


class DatDecoder(WordDecoder):
    """Decodes the events of a DAT file.

    Args:
        origin_us: the recording's time at which its clock was zero.
    """

    word = np.dtype(("<i4", 2))

    def __init__(self, origin_us: int = 0) -> None:
        super().__init__()
        self._clock = Clock(CLOCK_BITS, 1, NEAR_US, origin_us)

    def _decode_words(self, words: npt.NDArray[np.int32], *, final: bool) -> tuple[EventPacket, int]:
        times, used = self._clock.follow(words[:, 0].view(np.uint32).astype(np.int64), final=final)
        t, x, y, p = empty_columns(used)
        n = _decode(words[:used], times, t, x, y, p)
        self._count_left_out(used - n)
        return EventPacket(t[:n], x[:n], y[:n], p[:n]), used


class DatReader(PropheseeReader):
    """Reads Prophesee DAT files, version 2, of "2d" and "cd" events."""

    format = "DAT"
    suffixes = (".dat",)
    single_words = True
    near_us = ANY_STEP_US
    chunk_bytes = 64 * 1024 * EVENT_BYTES

    def __init__(self, path: Path, **options: str) -> None:
        super().__init__(path, **options)
        size = self.header.size
        version = self.header.fields.get("version", "2")
        kind, event_bytes = (*self.head[size : size + 2], None, None)[:2]
        if size == 0 or version != "2" or kind not in EVENT_TYPES or event_bytes != EVENT_BYTES:
            raise self._refuse(
                'expected a `%` header of version 2, then event type 0 ("2d") or 12 ("cd") and event size 8; '
                f"found {'a' if size else 'no'} header of version {version}, type {kind}, size {event_bytes}",
                "read another file, or convert it with the manufacturer's tools",
                where=f"byte {size}",
            )
        self.metadata["event_type"] = EVENT_TYPES[kind]
        self._start(DatDecoder(self.origin_us), size + 2)

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Check for a `%` header that names no RAW encoding, followed by the type and size of events."""
        header = parse_header(head)
        kind_and_size = head[header.size : header.size + 2]
        return header.size > 0 and header.encoding is None and kind_and_size in {b"\x00\x08", b"\x0c\x08"}
