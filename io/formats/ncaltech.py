"""N-Caltech101 and N-MNIST: files of five bytes per event, and nothing else.

Column, row, then one bit of polarity and 23 of time in microseconds, highest first. Row 240 is not a row: it marks an
overflow of the camera's own clock of 13 bits.

Source: Orchard et al., "Converting Static Image Datasets to Spiking Neuromorphic Datasets Using Saccades" (2015), and
the reader published with the data sets (github.com/gorchard/event-Python).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from eventveil.events import EventPacket
from eventveil.io.formats.chunked import ChunkedReader
from eventveil.io.formats.decoder import WordDecoder

EVENT_BYTES = 5
OVERFLOW_ROW = 240
OVERFLOW_US = 1 << 13
EVENTS_PER_STEP_BACK = 20  # a file in which time goes back more often than at one event in this many has another format
ENOUGH = 100  # events to judge their polarities, and to tell a truncated recording from another format
MIN_POLARITY_SHARE = 0.005  # of events of either polarity


class NCaltechDecoder(WordDecoder):
    """Decodes the five-byte events."""

    word = np.dtype((np.uint8, EVENT_BYTES))

    def __init__(self) -> None:
        super().__init__()
        self._overflows = 0

    def _decode_words(self, words: npt.NDArray[np.uint8], *, final: bool) -> tuple[EventPacket, int]:  # noqa: ARG002
        x, y, high, middle, low = words.T
        overflow = y == OVERFLOW_ROW
        overflows = self._overflows + np.cumsum(overflow)
        self._overflows = int(overflows[-1])
        if overflow.any():
            self.skipped["clock overflow"] = self._overflows
        t = (high & 0x7F).astype(np.int64) << 16 | middle.astype(np.int64) << 8 | low
        t += overflows * OVERFLOW_US
        kept = ~overflow
        packet = EventPacket(t[kept], x[kept].astype(np.uint16), y[kept].astype(np.uint16), high[kept] >= 0x80)
        return packet, len(words)


def _implausible(head: bytes, size: int) -> str | None:
    """Return why the first bytes of a file are not such events, or None.

    Random bytes go back in time at every second event; twenty of them are taken for events once in a million.
    """
    packet = NCaltechDecoder().decode(head)
    back = int(np.count_nonzero(np.diff(packet.t) < 0))
    if back > len(packet) // EVENTS_PER_STEP_BACK:
        return f"time goes back at {back} of the first {len(packet)}"
    if len(packet) >= ENOUGH and not MIN_POLARITY_SHARE < packet.p.mean() < 1 - MIN_POLARITY_SHARE:
        return f"all but a few of the first {len(packet)} have the same polarity"
    if len(packet) < ENOUGH and size % EVENT_BYTES:
        return f"its {size} bytes are not a multiple of {EVENT_BYTES}"
    return None


class NCaltechReader(ChunkedReader):
    """Reads `.bin` files of N-Caltech101 and N-MNIST. They hold neither a geometry nor a signature."""

    format = "N-Caltech101"
    suffixes = (".bin",)
    single_words = True
    chunk_bytes = 64 * 1024 * EVENT_BYTES

    def __init__(self, path: Path, **options: str) -> None:
        super().__init__(path, **options)
        if reason := _implausible(self.head, path.stat().st_size):
            raise self._refuse(
                f"expected events of {EVENT_BYTES} bytes in time order, as the extension says, but {reason}",
                "correct the extension; a recording of Prophesee's without its header must be recorded again, or "
                "converted with the program that wrote it",
                where="byte 0",
            )
        self._start(NCaltechDecoder(), 0)

    @classmethod
    def recognises(cls, head: bytes) -> bool:  # noqa: ARG003 - it has no signature
        """Return False: any bytes could be such events."""
        return False
