"""Reads recordings of published messages in MCAP, also those without an index, whose recorder was killed.

Every message is checked as one from a socket: what does not follow the wire format is refused.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import zstandard
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Footer, Header, Schema
from mcap.records import Message as Record
from mcap.stream_reader import StreamReader, get_chunk_data_stream

from eventveil.errors import EventFileError, WireError
from eventveil.stream.archive.schemas import ENCODING, MARKER, PROFILE, SCHEMAS, channel_of, frames_of
from eventveil.stream.protocol.wire import EVENTS, GESTURE, STATE, WINDOW, Message, decode

FORMAT = "MCAP"
MAX_BYTES = 1 << 29  # of a record or a chunk: a window of the largest size the wire format knows, in Base64
FOOTER_BYTES = 37  # of the last record, and of what ends the file
_TOPICS = {SCHEMAS[topic][0]: topic for topic in (WINDOW, GESTURE, EVENTS, STATE)}
_DAMAGE = (McapError, struct.error, zstandard.ZstdError, KeyError, ValueError, MemoryError)
"""What the library raises where a file is not as it should be."""
_MARKER = SCHEMAS[MARKER][0]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded message, or a marker.

    Attributes:
        time_ns: when it was received, in nanoseconds since 1970.
        message: the message; None for a marker.
        marker: the marker's document; None for a message.
    """

    time_ns: int
    message: Message | None
    marker: bytes | None = None


class McapRecording:
    """A recording; iterate over it as often as needed.

    Args:
        path: path of the file.

    Attributes:
        path: path of the file.
        complete: whether it has its index; otherwise, its recorder was killed, and the last seconds are missing.

    Raises:
        EventFileError: there is no such file, or eventveil did not record it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._reading() as file:
            first = next(_records(file), None)
            if not isinstance(first, Header) or first.profile != PROFILE:
                raise self._refusal(
                    f"expected a recording of published messages, whose profile is {PROFILE!r}",
                    "name a file that `eventveil record` wrote",
                )
        self.complete = self._has_index()

    def __iter__(self) -> Iterator[Recorded]:
        """Yield all messages and markers; errors as for `since`."""
        return self.since(0)

    def since(self, start_ns: int) -> Iterator[Recorded]:
        """Yield the messages and markers from a time on, in nanoseconds since 1970.

        Raises:
            EventFileError: the file is damaged.
            WireError: a message breaks the wire format.
        """
        with self._reading() as file:
            for schema, channel, record in self._messages(file):
                if record.log_time < start_ns or schema is None or channel.message_encoding != ENCODING:
                    continue
                if schema.name == _MARKER:
                    yield Recorded(record.log_time, None, record.data)
                elif schema.name in _TOPICS:
                    yield Recorded(record.log_time, self._decoded(_TOPICS[schema.name], channel.topic, record.data))

    def _messages(self, file: IO[bytes]) -> Iterator[tuple[Schema | None, Channel, Record]]:
        """Yield the messages of all chunks, in the order in which they were written."""
        schemas: dict[int, Schema] = {}
        channels: dict[int, Channel] = {}
        try:
            for chunk in _records(file):
                for record in _records_in(chunk) if isinstance(chunk, Chunk) else ():
                    if isinstance(record, Schema):
                        schemas[record.id] = record
                    elif isinstance(record, Channel):
                        channels[record.id] = record
                    else:
                        channel = channels[record.channel_id]
                        yield schemas.get(channel.schema_id), channel, record
        except _DAMAGE:
            if self.complete or file.read(1):
                raise
            # Here the recorder was killed, in the middle of a record.

    def _has_index(self) -> bool:
        with self._reading() as file:
            try:
                file.seek(-FOOTER_BYTES, os.SEEK_END)
                footer = next(_records(file, skip_magic=True), None)
            except (OSError, McapError, struct.error, ValueError):
                return False
        return isinstance(footer, Footer) and footer.summary_start > 0

    def _decoded(self, topic: str, channel: str, document: bytes) -> Message:
        try:
            message = decode(frames_of(topic, document))
        except (ValueError, WireError) as error:
            raise WireError(f"{self.path}: {error}; the recording is damaged, or was changed") from error
        if channel_of(message) != channel:
            raise WireError(f"{self.path}: a message of {channel_of(message)} is in the channel {channel}: refused")
        return message

    @contextmanager
    def _reading(self) -> Iterator[IO[bytes]]:
        try:
            with self.path.open("rb") as file:
                yield file
        except OSError as error:
            raise self._refusal(
                f"cannot be read: {error.strerror or error}", "check its name and its permissions"
            ) from error
        except _DAMAGE as error:
            raise self._refusal(f"damaged ({type(error).__name__})", "record again, or use another copy") from error

    def _refusal(self, expected: str, remedy: str) -> EventFileError:
        return EventFileError(self.path, format=FORMAT, expected=expected, remedy=remedy)


def _records(file: IO[bytes], *, skip_magic: bool = False) -> Iterator[Any]:
    """Yield the records of a file, chunks as they are."""
    reader = StreamReader(file, skip_magic=skip_magic, emit_chunks=True, record_size_limit=MAX_BYTES)
    return iter(reader.records)


def _records_in(chunk: Chunk) -> Iterator[Schema | Channel | Record]:
    """Yield the records of a chunk, one by one: a few kilobytes may say that they become gigabytes.

    Raises:
        McapError: it is too large, or compressed in a way in which no recorder of ours does.
    """
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
            yield Record.read(stream, length)
        else:
            stream.read(length)


def summarise(recording: McapRecording) -> dict[str, Any]:
    """Return what a recording holds: its span, its messages by channel, and the weights they name.

    Raises:
        EventFileError: the file is damaged.
        WireError: a message breaks the wire format.
    """
    channels: dict[str, int] = {}
    times: list[int] = []
    named: dict[str, set[Any]] = {
        "anonymizer": set(),
        "certificate": set(),
        "book": set(),
        "trained": set(),
        "run": set(),
    }
    markers = 0
    for recorded in recording:
        times = [times[0] if times else recorded.time_ns, recorded.time_ns]
        message = recorded.message
        if message is None:
            markers += 1
            continue
        channel = channel_of(message)
        channels[channel] = channels.get(channel, 0) + 1
        for key, values in named.items():
            if message.topic != STATE:
                values.add(getattr(message.header, key))
    about = {key: sorted(str(value) for value in values if value is not None) for key, values in named.items()}
    seconds = (times[1] - times[0]) / 1e9 if times else 0.0
    return {
        "format": FORMAT,
        "complete": recording.complete,
        "begun_ns": times[0] if times else None,
        "duration_s": seconds,
        "channels": channels,
        "markers": markers,
    } | about
