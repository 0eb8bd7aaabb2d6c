"""The chunks of a file in MCAP: found without reading them, and unpacked one by one.

A file may say anything about itself: records, chunks and indexes have limits, and what an index says is used only where
the chunk says the same.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np
import numpy.typing as npt
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import EndOfFile, McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Schema
from mcap.records import Message as Record
from mcap.stream_reader import MAGIC_SIZE, get_chunk_data_stream

MAX_BYTES = 1 << 29  # of a record or a chunk: a window of the largest size the wire format knows, in Base64
DAMAGE = (McapError, struct.error, zstandard.ZstdError, KeyError, ValueError, OverflowError, MemoryError)
"""What reading raises where a file is not as it should be."""
_RECORD = struct.Struct("<BQ")  # opcode and length, before each record
_CHUNK = struct.Struct("<QQQ")  # how the record of a chunk begins
_MESSAGE = _RECORD.size + 22  # of a message, before its content
_INDEX = struct.Struct("<HI")  # how the record of an index begins

Index = list[tuple[int, npt.NDArray[np.uint64]]]
"""Channels, and of each the times and places of its messages in the unpacked chunk, (n, 2)."""


@dataclass(frozen=True, slots=True)
class PackedChunk:
    """Where a chunk is, and what it says of itself.

    Attributes:
        begin: first byte of its record in the file, after opcode and length.
        end: byte after its record.
        first_ns: earliest time of its messages.
        last_ns: latest time of its messages.
        size: bytes once unpacked.
    """

    begin: int
    end: int
    first_ns: int
    last_ns: int
    size: int


def packed_chunks(file: IO[bytes]) -> Iterator[PackedChunk]:
    """Yield the chunks of a file in their order, and read none; the caller may seek meanwhile.

    Raises:
        EndOfFile: the file ends before its footer.
        McapError: a record or a chunk is too large.
    """
    place = MAGIC_SIZE
    while True:
        opcode, length = _record_at(file, place)
        if opcode == Opcode.FOOTER:
            return
        begin, place = place + _RECORD.size, place + _RECORD.size + length
        if place > os.fstat(file.fileno()).st_size:
            raise EndOfFile
        if opcode == Opcode.CHUNK:
            chunk = PackedChunk(begin, place, *_CHUNK.unpack(file.read(_CHUNK.size)))
            if chunk.size > MAX_BYTES:
                raise McapError("a chunk that is too large")
            yield chunk


def unpacked(file: IO[bytes], packed: PackedChunk) -> Iterator[Schema | Channel | Record]:
    """Yield the records of a chunk, one by one: a few kilobytes may say that they become gigabytes.

    Raises:
        McapError: it is too large, or compressed in a way in which no recorder of ours does, or a message has a time
            that the chunk does not have.
    """
    file.seek(packed.begin)
    chunk = Chunk.read(ReadDataStream(io.BytesIO(file.read(packed.end - packed.begin))))
    sizes = [len(chunk.data), chunk.uncompressed_size]
    if chunk.compression == "zstd":
        sizes.append(zstandard.frame_content_size(chunk.data))  # it counts, whatever the chunk says
    elif chunk.compression:
        raise McapError("a chunk of unknown compression")
    if max(sizes) > MAX_BYTES:
        raise McapError("a chunk that is too large")
    stream, size = get_chunk_data_stream(chunk, validate_crc=True)
    while stream.count < size:
        opcode, length = stream.read1(), stream.read8()
        if opcode == Opcode.SCHEMA:
            yield Schema.read(stream)
        elif opcode == Opcode.CHANNEL:
            yield Channel.read(stream)
        elif opcode == Opcode.MESSAGE:
            record = Record.read(stream, length)
            if not packed.first_ns <= record.log_time <= packed.last_ns:
                raise McapError("a message at a time that its chunk does not have")
            yield record
        else:
            stream.read(length)


def index_of(file: IO[bytes], chunk: PackedChunk) -> Index:
    """Return the index that follows a chunk; empty if it is missing, cut, or of other times than the chunk."""
    index: Index = []
    place, most = chunk.end, chunk.size  # each message takes more bytes in the chunk than in the index
    try:
        while True:
            opcode, length = _record_at(file, place)
            if opcode != Opcode.MESSAGE_INDEX:
                break
            most -= length
            if most < 0:
                return []
            content = file.read(length)
            channel, size = _INDEX.unpack_from(content)
            index.append((channel, np.frombuffer(content, "<u8", size // 8, _INDEX.size).reshape(-1, 2)))
            place += _RECORD.size + length
    except DAMAGE:
        return []
    times = np.concatenate([entries[:, 0] for _, entries in index]) if index else np.empty(0)
    agrees = times.size and (times.min(), times.max()) == (chunk.first_ns, chunk.last_ns)
    return index if agrees else []


def longest_message(chunk: PackedChunk, index: Index, channels: set[int]) -> int:
    """Return a number of bytes that no message of some channels in a chunk is longer than; 0 without such messages.

    Raises:
        McapError: a message is outside the chunk.
    """
    if not index:
        return 0
    places = np.sort(np.concatenate([entries[:, 1] for _, entries in index]))
    if places[-1] >= chunk.size:
        raise McapError("a message outside its chunk")
    ends = np.append(places, np.uint64(chunk.size))
    longest = 0
    for channel, entries in index:
        if channel in channels and len(entries):
            follow = ends[np.searchsorted(places, entries[:, 1], side="right")]
            longest = max(longest, int((follow - entries[:, 1]).max()) - _MESSAGE)
    return longest


def _record_at(file: IO[bytes], place: int) -> tuple[int, int]:
    """Return opcode and length of the record at a byte of a file, and leave the file at its content.

    Raises:
        EndOfFile: the file ends here.
        McapError: the record is too large.
    """
    file.seek(place)
    head = file.read(_RECORD.size)
    if len(head) < _RECORD.size:
        raise EndOfFile
    opcode, length = _RECORD.unpack(head)
    if length > MAX_BYTES:
        raise McapError("a record that is too large")
    return opcode, length
