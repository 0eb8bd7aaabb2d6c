"""Event Stream: five bytes per event, and one more for every 127 microseconds without events.

The first byte holds the polarity in its lowest bit and the microseconds since the last event in the other seven. All
bits set mean "127 microseconds passed, no event"; all but the lowest, "the stream was reset here". Rows are counted
from the bottom of the picture in the file, and from the top everywhere in eventveil.

Source: the Event Stream specification, version 2 (github.com/neuromorphic-paris/event_stream).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from numba import njit

from eventveil.errors import EventError
from eventveil.events import EventPacket, Sensor
from eventveil.io.formats.chunked import ChunkedReader
from eventveil.io.formats.decoder import Decoder, empty_columns
from eventveil.io.formats.reader import ANY_STEP_US

MAGIC = b"Event Stream"
HEADER_BYTES = 20  # magic, 3 of version, 1 of type, width, height
TYPES = {0: "generic", 1: "DVS", 2: "ATIS", 3: "asynchronous and modular display", 4: "colour"}
DVS = 1
EVENT_BYTES = 5
OVERFLOW, RESET = 0xFF, 0xFE
OVERFLOW_US = 127


@njit(cache=True, nogil=True)
def _decode(data: npt.NDArray[np.uint8], time: int, top: int, t, x, y, p) -> tuple[int, int, int, int]:  # type: ignore[no-untyped-def]
    """Fill t, x, y, p (room for one event per five bytes); return the bytes used, events, resets and the time."""
    at = n = resets = 0
    while at < data.size:
        first = int(data[at])
        if first == OVERFLOW:
            time += OVERFLOW_US
            at += 1
        elif first == RESET:
            resets += 1
            at += 1
        elif at + EVENT_BYTES <= data.size:
            time += first >> 1
            row = int(data[at + 3]) | int(data[at + 4]) << 8
            # A row beyond the sensor stays beyond it; the check of every packet rejects it.
            t[n], x[n], y[n] = time, int(data[at + 1]) | int(data[at + 2]) << 8, (top - row) & 0xFFFF
            p[n] = first & 1 != 0
            n += 1
            at += EVENT_BYTES
        else:
            break
    return at, n, resets, time


class EsDecoder(Decoder):
    """Decodes the DVS events after the header of an Event Stream.

    Args:
        height: rows of the sensor, to flip y.
    """

    def __init__(self, height: int) -> None:
        super().__init__()
        self._top = height - 1
        self._time = 0

    def _decode(self, data: bytes, *, final: bool) -> tuple[EventPacket, int]:  # noqa: ARG002 - holds nothing back
        if not data:
            return EventPacket.empty(), 0
        t, x, y, p = empty_columns(len(data) // EVENT_BYTES)
        used, n, resets, self._time = _decode(np.frombuffer(data, np.uint8), self._time, self._top, t, x, y, p)
        self.words += n
        if resets:
            self.skipped["reset"] += resets
        return EventPacket(t[:n], x[:n], y[:n], p[:n]), used


class EsReader(ChunkedReader):
    """Reads Event Stream files of DVS events."""

    format = "ES"
    suffixes = (".es",)
    near_us = ANY_STEP_US
    chunk_bytes = 64 * 1024 * EVENT_BYTES

    def __init__(self, path: Path, **options: str) -> None:
        super().__init__(path, **options)
        head = self.head[:HEADER_BYTES]
        try:
            self.sensor = self._read_header(head)
        except EventError as error:
            raise self._refuse(f"its header is invalid: {error}", "read another file", where="byte 16") from error
        self.metadata = {"version": ".".join(str(part) for part in head[12:15]), "event_type": TYPES[DVS]}
        self._start(EsDecoder(self.sensor.height), HEADER_BYTES)

    def _read_header(self, head: bytes) -> Sensor:
        if head[: len(MAGIC)] == MAGIC and len(head) == HEADER_BYTES and head[12] == 2 and head[15] == DVS:
            width, height = np.frombuffer(head, "<u2", 2, 16).tolist()
            return Sensor(width, height)
        actual = f"version {head[12]}, type {head[15]} ({TYPES.get(head[15], 'unknown')})" if len(head) > 15 else "less"
        raise self._refuse(
            f"expected {MAGIC.decode()!r} of version 2 and type {DVS} (DVS), then width and height; found {actual}",
            "convert the file to DVS events, for example with faery",
            where="byte 0",
        )

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Check for the words "Event Stream" at the start."""
        return head.startswith(MAGIC)
