"""Reads recordings of published messages in MCAP, also those without an index, whose recorder was killed.

Every message is checked as one from a socket: what does not follow the wire format is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import zstandard
from mcap.exceptions import McapError
from mcap.reader import make_reader
from mcap.records import Channel, Chunk, Header, Schema
from mcap.records import Message as Record
from mcap.stream_reader import StreamReader, breakup_chunk

from eventveil.errors import EventFileError, WireError
from eventveil.stream.archive.schemas import ENCODING, MARKER, PROFILE, SCHEMAS, channel_of, frames_of
from eventveil.stream.protocol.wire import EVENTS, GESTURE, STATE, WINDOW, Message, decode

FORMAT = "MCAP"
MAX_BYTES = 1 << 29  # of a record: a window of the largest size the wire format knows, in Base64
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
            first = next(iter(StreamReader(file, record_size_limit=MAX_BYTES).records), None)
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
            for schema, channel, record in self._records(file, start_ns):
                if record.log_time < start_ns or schema is None or channel.message_encoding != ENCODING:
                    continue
                if schema.name == _MARKER:
                    yield Recorded(record.log_time, None, record.data)
                elif schema.name in _TOPICS:
                    yield Recorded(record.log_time, self._decoded(_TOPICS[schema.name], channel.topic, record.data))

    def _records(self, file: IO[bytes], start_ns: int) -> Iterator[tuple[Schema | None, Channel, Record]]:
        if self.complete:
            reader = make_reader(file, validate_crcs=True)
            yield from reader.iter_messages(starting_at=start_ns)
            return
        schemas: dict[int, Schema] = {}
        channels: dict[int, Channel] = {}
        try:
            for chunk in StreamReader(file, emit_chunks=True, record_size_limit=MAX_BYTES).records:
                for record in breakup_chunk(chunk, validate_crc=True) if isinstance(chunk, Chunk) else ():
                    if isinstance(record, Schema):
                        schemas[record.id] = record
                    elif isinstance(record, Channel):
                        channels[record.id] = record
                    elif isinstance(record, Record):
                        channel = channels[record.channel_id]
                        yield schemas.get(channel.schema_id), channel, record
        except _DAMAGE:
            if file.read(1):
                raise
            # Here the recorder was killed, in the middle of a record.

    def _has_index(self) -> bool:
        with self._reading() as file:
            try:
                return make_reader(file).get_summary() is not None
            except (McapError, struct.error, ValueError):
                return False

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
