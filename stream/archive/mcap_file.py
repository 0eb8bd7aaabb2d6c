"""One file in MCAP: chunks compressed with zstd, an index at its end, and room for both kept on the disk.

On a full disk, the last chunk and the index are written into reserved space: the file is then complete, and the caller
begins no other. A process that is killed leaves a file without an index, whose chunks can be
read.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, cast

from mcap.data_stream import RecordBuilder
from mcap.records import ChunkIndex
from mcap.writer import CompressionType, Writer

from eventveil.errors import WireError
from eventveil.host.files import atomic_file, nameless_file
from eventveil.stream.archive.schemas import (
    ENCODING,
    MARKER,
    PICTURE,
    PROFILE,
    SCHEMAS,
    channel_of,
    document_of,
    marker,
    picture_of,
)
from eventveil.stream.protocol.wire import WINDOW, Message
from eventveil.version import __version__

CHUNK = 1 << 20  # bytes before compression
FLUSH_S = 5.0  # a killed process loses at most the messages of this time
MAX_CHANNELS = 10_000  # no honest pipeline comes near; MCAP has numbers for 65,535
RESERVE, INDEX = 4 << 20, 256  # bytes kept free: at least, and for each write, of which a chunk takes three
_FULL = (errno.ENOSPC, errno.EDQUOT)


class McapFile:
    """Writes messages to one file.

    Args:
        path: the file to write; it appears when `close` is called.
        replace: whether an existing file may be replaced.
        keep_part: leave the hidden, incomplete file if `close` is never called or fails.

    Attributes:
        part: the hidden file that is written until then.
        windows: how many windows were written so far.
        messages: how many messages, markers included.
        full: the disk is full, and the reserve is in use: close the file.

    Raises:
        OSError: the file cannot be created.
    """

    def __init__(self, path: Path, *, replace: bool = False, keep_part: bool = True) -> None:
        self.windows = self.messages = 0
        self._opened = ExitStack()
        file = self._opened.enter_context(atomic_file(path, replace=replace, keep_part=keep_part))
        self.part = Path(file.name)
        try:
            self._stream = self._opened.enter_context(_ReservingStream(file, path.parent))
        except BaseException as error:
            self.abandon(error)
            self.part.unlink(missing_ok=True)
            raise
        self._writer: Any = Writer(cast(Any, self._stream), chunk_size=CHUNK, compression=CompressionType.ZSTD)
        # As objects, the indexes of its chunks would take six times the memory until the file ends. The writer has no
        # public name for them.
        self._writer._Writer__chunk_indices = _PackedIndexes()  # type: ignore[attr-defined]
        self._channels: dict[str, int] = {}
        self._schemas: dict[str, int] = {}
        self._flushed_s = time.monotonic()
        self._writer.start(PROFILE, f"eventveil {__version__}")

    @property
    def full(self) -> bool:
        """Whether the reserve is in use."""
        return self._stream.full

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._stream.tell()

    @property
    def room(self) -> int:
        """Bytes that the process may still add to the file."""
        limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        return (1 << 62) if limit == resource.RLIM_INFINITY else limit - self.size - self._stream.reserved

    def write(self, message: Message, time_ns: int) -> None:
        """Write a message, and of a window its picture.

        Args:
            message: to write.
            time_ns: when it was received, in nanoseconds since 1970.

        Raises:
            OSError: the file cannot be written, not even with the reserve.
            WireError: a hostile publisher sends more streams than any pipeline has; the file can be closed.
        """
        self._add(channel_of(message), message.topic, document_of(message), time_ns)
        if message.topic == WINDOW:
            self.windows += 1
            self._add(f"/{message.header.stream}/{PICTURE}", PICTURE, picture_of(message, time_ns), time_ns)

    def mark(self, text: str, time_ns: int) -> None:
        """Write a marker; errors as for `write`."""
        self._add(f"/{MARKER}", MARKER, marker(text, time_ns), time_ns)

    def tick(self) -> None:
        """Write out what waits, if it has waited long; errors as for `write`."""
        if time.monotonic() - self._flushed_s > FLUSH_S:
            self._writer.flush()
            self._flushed_s = time.monotonic()

    def close(self) -> None:
        """Write the index, and let the file appear.

        Raises:
            OSError: it cannot be written, or something is at its path now.
        """
        with self._opened:
            self._stream.release()
            self._writer.finish()

    def abandon(self, error: BaseException) -> None:
        """Close the file without an index; it stays hidden, or is removed."""
        self._opened.__exit__(type(error), error, error.__traceback__)

    def _add(self, topic: str, kind: str, document: bytes, time_ns: int) -> None:
        if topic not in self._channels:
            if len(self._channels) == MAX_CHANNELS:
                raise WireError(
                    f"expected at most {MAX_CHANNELS:,} channels (topics of all streams) in a file, got more; no "
                    "pipeline has that many, so record another publisher"
                )
            if kind not in self._schemas:
                name, schema = SCHEMAS[kind]
                self._schemas[kind] = self._writer.register_schema(name, "jsonschema", json.dumps(schema).encode())
            self._channels[topic] = self._writer.register_channel(topic, ENCODING, self._schemas[kind])
        self._writer.add_message(self._channels[topic], time_ns, document, time_ns)
        self.messages += 1


class _PackedIndexes:
    """The indexes of a file's chunks, as they will be written; takes the place of the writer's list of objects."""

    def __init__(self) -> None:
        self._packed = bytearray()

    def append(self, index: ChunkIndex) -> None:
        """Add the index of a chunk."""
        record = cast(Any, RecordBuilder())
        index.write(record)
        self._packed += record.end()

    def __iter__(self) -> Iterator[_PackedIndexes]:
        yield self

    def write(self, file: RecordBuilder) -> None:
        """Write all of them, as an index writes itself."""
        file.write(self._packed)


class _ReservingStream:
    """A file that keeps some of the disk free for its own end; what `mcap.writer.Writer` writes to.

    The reserve is a file without a name, so that it vanishes with this process.
    """

    def __init__(self, file: IO[bytes], folder: Path) -> None:
        self.full = False
        self.reserved = 0
        self._descriptor = file.fileno()
        self._end = 0
        self._largest = self._writes = 0
        self._reserve: IO[bytes] | None = nameless_file(folder)
        try:
            self._extend()
        except BaseException:
            self.release()
            raise

    def __enter__(self) -> _ReservingStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Give the reserve back to the disk."""
        if self._reserve is not None:
            self._reserve.close()
            self._reserve = None

    def write(self, data: Any) -> int:
        """Write all of the data, into the reserve if need be."""
        left = memoryview(data)
        self._largest = max(self._largest, len(left))
        self._writes += 1
        while left:
            try:
                written = os.write(self._descriptor, left)
            except OSError as error:
                if error.errno not in _FULL or self._reserve is None:
                    raise
                self.full = True
                self.release()
            else:
                left = left[written:]
                self._end += written
        self._extend()
        return len(data)

    def tell(self) -> int:
        """Bytes written so far."""
        return self._end

    def flush(self) -> None:
        """Do nothing: what is written is with the operating system."""

    def _extend(self) -> None:
        """Let the reserve grow with the index and the largest chunk."""
        needed = RESERVE + 2 * self._largest + INDEX * self._writes
        if self._reserve is None or needed <= self.reserved:
            return
        try:
            _allocate(self._reserve.fileno(), self.reserved, needed + RESERVE // 4)
        except OSError as error:
            if error.errno not in _FULL or not self._end:
                raise
            self.full = True
        else:
            self.reserved = needed + RESERVE // 4


def _allocate(descriptor: int, begin: int, end: int) -> None:
    """Let a file take up the space on the disk from one of its bytes to another."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, begin, end - begin)
        return
    zeros = memoryview(bytes(min(end - begin, RESERVE)))  # macOS has no such call
    while begin < end:
        begin += os.pwrite(descriptor, zeros[: end - begin], begin)
