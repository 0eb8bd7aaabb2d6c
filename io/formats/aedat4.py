"""AEDAT4, recorded by iniVation's DV: packets of events, along with frames, motion and triggers.

A file is a magic line, a header (compression, position of the data table, list of streams) and packets,
`i32 stream, i32 size, payload`, up to the data table or, if the recorder was killed, to the end. The payload of an
event packet is a FlatBuffer around 16-byte records, which are viewed in place, without a copy. The data table, an index
for seeking, is not needed for sequential reading.

Source: AEDAT 4.0, https://docs.inivation.com/software/software-advanced-usage/file-formats/aedat-4.0.html
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import numpy as np

from eventveil.errors import EventError, EventFileError
from eventveil.events import EventPacket, Sensor
from eventveil.io.formats.compression import COMPRESSIONS, MAX_BYTES, Decompressor
from eventveil.io.formats.flatbuffer import I32, I64, PREFIX, Table
from eventveil.io.formats.reader import SKIP, Reader
from eventveil.io.formats.resync import BLOCK, is_zero, uint32_at_each_byte

MAGIC = b"#!AER-DAT4.0\r\n"
PACKET = struct.Struct("<2i")  # stream, size of the payload
RECORD = np.dtype(
    {"names": ["t", "x", "y", "p"], "formats": ["<i8", "<u2", "<u2", "?"], "offsets": [0, 8, 10, 12], "itemsize": 16}
)
_SIGN_END = 12  # stream, size and the first word of the payload
_SIGNS = (
    {"NONE": None} | dict.fromkeys(("LZ4", "LZ4_HIGH"), 0x184D2204) | dict.fromkeys(("ZSTD", "ZSTD_HIGH"), 0xFD2FB528)
)
_KINDS = {"EVTS": "event", "FRME": "frame", "IMUS": "IMU", "TRIG": "trigger"}


class Aedat4Reader(Reader):
    """Reads the first event stream of an AEDAT4 file, packet by packet as recorded.

    Packets of other streams are skipped and counted. Only damaged packets are lost: reading continues at the next place
    that looks like a packet.
    """

    format = "AEDAT4"
    suffixes: ClassVar[tuple[str, ...]] = (".aedat4",)

    def __init__(self, path: Path, **options: str) -> None:
        super().__init__(path, **options)
        self._file = path.open("rb")
        try:
            size = os.fstat(self._file.fileno()).st_size
            table_at = self._read_header(size)
        except BaseException:
            self.close()
            raise
        self._at = self._last = self._file.tell()
        self._end = min(table_at, size)
        self._cut = table_at > size
        self._packets = 0

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Check for the magic line."""
        return head.startswith(MAGIC)

    def read_packet(self) -> EventPacket | None:
        """Return the next packet of the event stream."""
        while self._at < self._end:
            stream, size = self._read_packet_header()
            self._last, self._at = self._at, self._at + PACKET.size + size
            self._packets += 1
            if stream == self._stream:
                return self._decode(self._file.read(size))
            self.skipped[f"{self._streams[stream]} packet"] += 1
            self._file.seek(size, os.SEEK_CUR)
        if self._cut:
            self._cut = False
            raise self._truncated(self._end)
        return None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read_header(self, file_size: int) -> int:
        """Read up to the first packet; return where the packets end, according to the header."""
        magic = self._file.read(len(MAGIC))
        prefix = self._file.read(PREFIX)
        size = int.from_bytes(prefix, "little")
        if magic != MAGIC or len(prefix) < PREFIX or size > min(file_size, MAX_BYTES):
            raise self._bad_header("the magic line and a header that fits into the file")
        try:
            table = Table(prefix + self._file.read(size))
            compression = table.number(0, I32, 0)
            table_at = table.number(1, I64, -1)
            self._read_streams(ElementTree.fromstring(table.text(2)))
        except (ValueError, ElementTree.ParseError) as error:
            raise self._bad_header("an IOHeader table with information as XML") from error
        if not 0 <= compression < len(COMPRESSIONS) or 0 < table_at < self._file.tell():
            raise self._bad_header(f"a compression of {', '.join(COMPRESSIONS)} and a data table after the packets")
        self._sign = _SIGNS[COMPRESSIONS[compression]]
        self._decompressor = Decompressor(COMPRESSIONS[compression])
        self.metadata["compression"] = COMPRESSIONS[compression]
        return file_size if table_at <= 0 else table_at

    def _read_streams(self, information: ElementTree.Element) -> None:
        """Store the list of streams, and the geometry of the first event stream."""
        nodes = {int(node.get("name", "")): node for node in information.findall(".//node[@name='outInfo']/node")}
        identifiers = {stream: _attribute(node, "typeIdentifier") for stream, node in nodes.items()}
        events = sorted(stream for stream, identifier in identifiers.items() if identifier == "EVTS")
        if not events:
            raise self.fault("expected an event stream, and the file has none", "record the events as well")
        self._stream = events[0]
        self._streams = {stream: _KINDS.get(identifier, identifier) for stream, identifier in identifiers.items()}
        self.metadata["streams"] = {str(stream): kind for stream, kind in self._streams.items()}
        for stream in events[1:]:
            self._streams[stream] = f"event stream {stream}"
        camera = nodes[self._stream].find("node[@name='info']")
        if camera is None:
            return
        self.metadata["camera"] = _attribute(camera, "source")
        width, height = _attribute(camera, "sizeX"), _attribute(camera, "sizeY")
        if width and height:
            try:
                self.sensor = Sensor(int(width), int(height))
            except EventError as error:
                raise ValueError("a geometry that no sensor has") from error

    def _read_packet_header(self) -> tuple[int, int]:
        head = self._file.read(PACKET.size)
        if len(head) == PACKET.size:
            stream, size = PACKET.unpack(head)
            if stream in self._streams and 0 <= size <= min(MAX_BYTES, self._end - self._at - PACKET.size):
                return stream, size
        # The previous packet's size may be wrong, so the search begins inside that packet.
        at, self._at = self._at, self._find_packet(self._last + 1)
        if self._at == self._end:
            self._cut = False
            raise self._truncated(at)
        raise self._damaged("a known stream and the size of a packet", at)

    def _decode(self, payload: bytes) -> EventPacket:
        try:
            buffer = self._decompressor.decompress(payload)
            start, count = _events_in(buffer)
        except ValueError as error:
            self._at = self._find_packet(self._last + 1)
            raise self._damaged(f"a packet of events ({error})", self._last) from error
        records = np.frombuffer(buffer, RECORD, count, start)
        return EventPacket(records["t"], records["x"], records["y"], records["p"])

    def _find_packet(self, at: int) -> int:
        """Seek to the next packet at or after `at`, or to the end; return that place."""
        while at < self._end:
            self._file.seek(at)
            places = _packets_in(self._file.read(BLOCK), list(self._streams), self._sign)
            for place, size in places:
                if at + place + PACKET.size + size <= self._end:
                    self._file.seek(at + place)
                    return at + place
            at += BLOCK - _SIGN_END
        return self._end

    def _damaged(self, expected: str, at: int) -> EventFileError:
        self.skipped["damaged packet"] += 1
        return self.fault(
            f"expected {expected}",
            SKIP,
            where=f"packet {self._packets} at byte {at}",
            recoverable=True,
        )

    def _truncated(self, at: int) -> EventFileError:
        return self.fault(
            "no complete packet follows: the file is truncated or its end is damaged",
            f"all complete packets before it were read; if it should be longer, {SKIP}",
            where=f"byte {at}",
        )

    def _bad_header(self, expected: str) -> EventFileError:
        return self.fault(f"expected {expected}", "the header is damaged or cut off", where=f"byte {len(MAGIC)}")


def _attribute(node: ElementTree.Element, key: str) -> str:
    return node.findtext(f"attr[@key='{key}']", "")


def _events_in(buffer: bytes) -> tuple[int, int]:
    """Return where the records of a packet begin, and their number, which must fill the packet or it is damaged."""
    start, count = Table(buffer).vector(0, RECORD.itemsize)
    unused = len(buffer) - max(start, RECORD.itemsize) - RECORD.itemsize * count
    if unused >= RECORD.itemsize or start % 8:
        raise ValueError("it holds other data as well")
    return start, count


def _packets_in(data: bytes, streams: list[int], sign: int | None) -> list[tuple[int, int]]:
    """Find everything that looks like a packet: (place, size) where a known stream and a size precede a payload's sign.

    The sign of a compressed payload is its frame's magic number; that of an uncompressed one is its own size.
    """
    if len(data) < _SIGN_END or is_zero(data):
        return []
    words = uint32_at_each_byte(data)
    stream, size, first = words[:-8], words[4:-4], words[8:]
    signed = first == sign if sign is not None else first + np.uint32(PREFIX) == size
    places = np.flatnonzero(signed & (size <= MAX_BYTES) & np.isin(stream, streams))
    return [(int(place), int(size[place])) for place in places]
