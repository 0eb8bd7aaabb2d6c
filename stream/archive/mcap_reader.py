"""Reads recordings of published messages in MCAP, also those without an index, whose recorder was killed.

Every message is checked as one from a socket: what does not follow the wire format is refused.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from mcap.exceptions import EndOfFile, McapError
from mcap.records import Channel, Footer, Header, Schema
from mcap.records import Message as Record
from mcap.stream_reader import StreamReader

from eventveil.errors import EventFileError, WireError
from eventveil.stream.archive.mcap_chunks import (
    DAMAGE,
    MAX_BYTES,
    Index,
    PackedChunk,
    index_of,
    longest_message,
    packed_chunks,
    unpacked,
)
from eventveil.stream.archive.schemas import ENCODING, MARKER, PROFILE, SCHEMAS, channel_of, frames_of
from eventveil.stream.protocol.wire import CERTIFICATE_STATE, EVENTS, GESTURE, STATE, WINDOW, Message, decode

FORMAT = "MCAP"
FOOTER_BYTES = 37  # of the last record, and of what ends the file
_TOPICS = {SCHEMAS[topic][0]: topic for topic in (WINDOW, GESTURE, EVENTS, STATE)}
_MARKER, _STATE, _EVENTS = SCHEMAS[MARKER][0], SCHEMAS[STATE][0], SCHEMAS[EVENTS][0]


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

        If the certificate was recorded before, it comes first, at the time of the first message. Chunks that end
        before `start_ns` stay packed, unless they hold the certificate.

        Raises:
            EventFileError: the file is damaged.
            WireError: a message breaks the wire format.
        """

        def skip(chunk: PackedChunk, channels: _Channels) -> bool:
            if chunk.last_ns >= start_ns:
                return False
            kinds = {channels.kind(number) for number, _ in channels.known(index_of(file, chunk))}
            return bool(kinds) and _STATE not in kinds

        certificate: Message | None = None
        with self._reading() as file:
            for kind, channel, record in self._messages(file, skip):
                if record.log_time < start_ns:
                    if kind == _STATE:
                        message = self._decoded(STATE, channel.topic, record.data)
                        certificate = message if message.header.state == CERTIFICATE_STATE else certificate
                    continue
                if kind != _MARKER and kind not in _TOPICS:
                    continue
                if certificate is not None:
                    yield Recorded(record.log_time, certificate)
                    certificate = None
                if kind == _MARKER:
                    yield Recorded(record.log_time, None, record.data)
                else:
                    yield Recorded(record.log_time, self._decoded(_TOPICS[kind], channel.topic, record.data))

    def longest_events(self) -> int:
        """Return a number of bytes, above 0, that no payload of events is longer than.

        It follows from the indexes of chunks; only a chunk without one is unpacked.

        Raises:
            EventFileError: the file is damaged.
        """
        longest = 0

        def skip(chunk: PackedChunk, channels: _Channels) -> bool:
            nonlocal longest
            index = channels.known(index_of(file, chunk))
            events = {number for number, _ in index if channels.kind(number) == _EVENTS}
            longest = max(longest, longest_message(chunk, index, events))
            return bool(index)

        with self._reading() as file:
            for kind, _, record in self._messages(file, skip):
                longest = max(longest, len(record.data)) if kind == _EVENTS else longest
        return longest * 3 // 4 + 1  # the document holds the payload in Base64

    def _messages(
        self, file: IO[bytes], skip: Callable[[PackedChunk, _Channels], bool]
    ) -> Iterator[tuple[str, Channel, Record]]:
        """Yield the messages in the order in which they were written, each with the name of its schema.

        Args:
            file: this recording.
            skip: returns whether a chunk stays packed, given the channels that are known so far.
        """
        channels, skipped = _Channels(), False
        for chunk in self._chunks(file):
            if skip(chunk, channels):
                skipped = True
                continue
            for record in unpacked(file, chunk):
                if not isinstance(record, Record):
                    channels.add(record)
                    continue
                if skipped and not channels.has(record.channel_id):  # a chunk may define what only a later one uses
                    self._define_all(file, chunk, channels)
                    skip, skipped = _never, False
                kind = channels.kind(record.channel_id)
                if kind is not None:
                    yield kind, channels.by_number[record.channel_id], record

    def _define_all(self, file: IO[bytes], end: PackedChunk, channels: _Channels) -> None:
        """Add what all chunks before one of them define."""
        for chunk in self._chunks(file):
            if chunk.begin >= end.begin:
                return
            for record in unpacked(file, chunk):
                if not isinstance(record, Record):
                    channels.add(record)

    def _chunks(self, file: IO[bytes]) -> Iterator[PackedChunk]:
        try:
            yield from packed_chunks(file)
        except EndOfFile:
            if self.complete:
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
        except DAMAGE as error:
            raise self._refusal(f"damaged ({type(error).__name__})", "record again, or use another copy") from error

    def _refusal(self, expected: str, remedy: str) -> EventFileError:
        return EventFileError(self.path, format=FORMAT, expected=expected, remedy=remedy)


def _records(file: IO[bytes], *, skip_magic: bool = False) -> Iterator[Any]:
    """Yield the records of a file, chunks as they are."""
    reader = StreamReader(file, skip_magic=skip_magic, emit_chunks=True, record_size_limit=MAX_BYTES)
    return iter(reader.records)


def _never(_chunk: PackedChunk, _channels: _Channels) -> bool:
    """Skip no chunk."""
    return False


@dataclass(frozen=True, slots=True)
class _Channels:
    """The channels and schemas that the unpacked part of a file defines."""

    by_number: dict[int, Channel] = field(default_factory=dict)
    schemas: dict[int, Schema] = field(default_factory=dict)

    def add(self, record: Schema | Channel) -> None:
        """Add a definition."""
        if isinstance(record, Schema):
            self.schemas[record.id] = record
        else:
            self.by_number[record.id] = record

    def has(self, number: int) -> bool:
        """Return whether a channel is known, and its schema, if it has one."""
        channel = self.by_number.get(number)
        return channel is not None and (not channel.schema_id or channel.schema_id in self.schemas)

    def known(self, index: Index) -> Index:
        """Return an index if all of its channels are known, or else nothing."""
        return index if all(self.has(number) for number, _ in index) else []

    def kind(self, number: int) -> str | None:
        """Return the name of a channel's schema; None if it has none, or its messages are not of JSON.

        Raises:
            KeyError: there is no such channel.
        """
        channel = self.by_number[number]
        schema = self.schemas.get(channel.schema_id)
        return None if schema is None or channel.message_encoding != ENCODING else str(schema.name)


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
