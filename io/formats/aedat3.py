"""AEDAT 3.1, recorded by cAER; DVS128 Gesture was released in it.

Comment lines up to `#!END-HEADER`, then packets: a header of 28 bytes and events of one type from one source, all
little-endian. Times have 31 bits; each packet's header states how often they have wrapped.

Source: AEDAT 3.1, https://docs.inivation.com/software/software-advanced-usage/file-formats/aedat-3.1.html
"""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from eventveil.events import EventPacket
from eventveil.io.formats.chips import sensor_of
from eventveil.io.formats.reader import OUTLYING, SKIP, Reader
from eventveil.io.formats.resync import BLOCK, is_zero, uint32_at_each_byte

MAGIC = b"#!AER-DAT3.1"
END = b"#!END-HEADER"
HEADER = struct.Struct("<2h6i")
POLARITY = 1
EVENT = np.dtype([("data", "<u4"), ("time", "<i4")])
MAX_BYTES = 1 << 26  # of a packet
_TYPES = {0: "special", 2: "frame", 3: "IMU", 4: "IMU"}
_LINE = 1 << 16  # bytes; no comment is longer


class PacketHeader(NamedTuple):
    """The header of a packet, with its fields in file order."""

    type: int
    source: int
    event_size: int
    time_offset: int
    time_overflow: int
    capacity: int
    number: int
    valid: int

    def is_valid(self, room: int) -> bool:
        """Return whether a packet may have this header, if this many bytes follow it."""
        size = self.event_size * self.number
        polarity = self.type != POLARITY or (self.event_size, self.time_offset) == (EVENT.itemsize, 4)
        numbers = 0 <= self.valid <= self.number <= self.capacity and self.time_overflow >= 0
        fits = self.event_size > 0 and size <= min(MAX_BYTES, room)
        return self.type >= 0 and polarity and numbers and fits


class Aedat3Reader(Reader):
    """Reads the polarity events of the first source, packet by packet as recorded.

    Events that are marked invalid, of other types or of other sources are skipped and counted. The geometry is that of
    the chip that the comments name as the source, or as the original source of a re-recording.
    """

    format = "AEDAT3.1"
    suffixes: ClassVar[tuple[str, ...]] = (".aedat",)
    single_words = True

    def __init__(self, path: Path, **options: str) -> None:
        super().__init__(path, **options)
        self._file = path.open("rb")
        try:
            self._end = os.fstat(self._file.fileno()).st_size
            self._read_comments()
        except BaseException:
            self.close()
            raise
        self._source: int | None = None
        self._overflow: int | None = None  # of the last packet whose events were returned
        self._last = self._file.tell() - 1  # where the last packet found begins
        self._packets = 0

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Check for the magic line."""
        return head.startswith(MAGIC)

    def read_packet(self) -> EventPacket | None:
        """Return the valid events of the next polarity packet."""
        while (at := self._file.tell()) < self._end:
            header = self._read_packet_header(at)
            data = self._file.read(header.event_size * header.number)
            self._last = at
            self._packets += 1
            if header.type == POLARITY and self._source in (None, header.source):
                self._source = header.source
                if self._is_damaged(header.time_overflow):
                    self.skipped[OUTLYING] += header.number
                    continue
                self._overflow = header.time_overflow
                return self._decode(data, header.time_overflow)
            kind = "polarity" if header.type == POLARITY else _TYPES.get(header.type, "other")
            self.skipped[f"{kind} event"] += header.number
        return None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read_comments(self) -> None:
        if not self._file.readline(_LINE).startswith(MAGIC):
            raise self.fault(f"expected {MAGIC.decode()}", "this is not an AEDAT 3.1 file", where="byte 0")
        names = []
        while not (line := self._file.readline(_LINE)).startswith(END):
            if not line.startswith(b"#"):
                raise self.fault(f"expected comments up to {END.decode()}", "the header is damaged or cut off")
            text = line.decode("latin-1").strip("# \r\n")
            layout = re.match(r"Format: *(.+)", text)
            if layout and layout[1] != "RAW":
                raise self.fault(f"expected the layout RAW, got {layout[1]!r}", "record or convert it as RAW")
            source = re.match(r"-*Source -?\d+: *(.+)", text)
            if source:
                names.append(source[1])
        self.metadata["sources"] = names
        self.sensor = next((sensor for name in names if (sensor := sensor_of(name))), None)

    def _read_packet_header(self, at: int) -> PacketHeader:
        head = self._file.read(HEADER.size)
        if len(head) == HEADER.size:
            header = PacketHeader(*HEADER.unpack(head))
            if header.is_valid(self._end - at - HEADER.size):
                return header
        # The previous packet's size may be wrong, so the search begins inside that packet.
        follows = self._find_packet(self._last + 1)
        where = f"packet {self._packets} at byte {at}"
        self._packets += 1
        if follows:
            self.skipped["damaged packet"] += 1
            raise self.fault("expected the header of a packet", SKIP, where=where, recoverable=True)
        raise self.fault(
            "no complete packet follows: the file is truncated or its end is damaged",
            f"all complete packets before it were read; if it should be longer, {SKIP}",
            where=where,
        )

    def _is_damaged(self, overflow: int) -> bool:
        """Return whether the next packet contradicts how often the clock has wrapped, by this packet."""
        if overflow == self._overflow:
            return False
        following = self._next_overflow()
        if following is None:
            return False
        back_again = self._overflow is not None and overflow < self._overflow <= following
        return following < overflow or back_again

    def _next_overflow(self) -> int | None:
        """Return the overflow of the next polarity packet, if one follows whole; stay where the file is."""
        at = self._file.tell()
        try:
            while len(head := self._file.read(HEADER.size)) == HEADER.size:
                header = PacketHeader(*HEADER.unpack(head))
                if not header.is_valid(self._end - self._file.tell()):
                    return None
                if (header.type, header.source) == (POLARITY, self._source):
                    return header.time_overflow
                self._file.seek(header.event_size * header.number, os.SEEK_CUR)
            return None
        finally:
            self._file.seek(at)

    def _find_packet(self, at: int) -> bool:
        """Seek to the next packet of polarity events at or after `at`, or to the end; return whether there is one."""
        while at < self._end:
            self._file.seek(at)
            for place, size in _packets_in(self._file.read(BLOCK), self._source):
                if at + place + HEADER.size + size <= self._end:
                    self._file.seek(at + place)
                    self._last = at + place
                    return True
            at += BLOCK - HEADER.size
        self._file.seek(self._end)
        return False

    def _decode(self, data: bytes, overflow: int) -> EventPacket:
        events = np.frombuffer(data, EVENT)
        valid = events["data"] & 1 == 1
        if not valid.all():
            self.skipped["invalid event"] += int(np.count_nonzero(~valid))
            events = events[valid]
        address = events["data"].astype(np.uint32)
        t = events["time"].astype(np.int64) + (overflow << 31)
        return EventPacket.of(t, address >> 17, address >> 2 & 0x7FFF, address >> 1 & 1)


def _packets_in(data: bytes, source: int | None) -> list[tuple[int, int]]:
    """Find everything that looks like a packet of polarity events: (place, size of the events)."""
    if is_zero(data):
        return []
    words = uint32_at_each_byte(data)
    count = max(0, len(data) - HEADER.size + 1)
    kind, event_size, time_offset, overflow, capacity, number, valid = (
        words[4 * field : 4 * field + count] for field in range(7)
    )
    layout = (kind & 0xFFFF == POLARITY) & (event_size == EVENT.itemsize) & (time_offset == 4) & (overflow >> 31 == 0)
    numbers = (valid <= number) & (number <= capacity) & (number > 0) & (number <= MAX_BYTES // EVENT.itemsize)
    places = np.flatnonzero(layout & numbers)
    return [
        (int(place), EVENT.itemsize * int(number[place]))
        for place in places
        if source in (None, int(kind[place]) >> 16)
    ]
