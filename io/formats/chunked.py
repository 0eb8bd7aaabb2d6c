"""The shell around a decoder that makes it the reader of a file: open, read on, tell the end from a cut."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from eventveil.errors import EventFileError
from eventveil.events import EventPacket
from eventveil.io.formats.decoder import Decoder
from eventveil.io.formats.reader import Reader

HEAD_BYTES = 64 * 1024


class ChunkedReader(Reader):
    """Reads a file in chunks through a decoder; what the chunks and the decoder hold is all the memory it takes.

    A subclass reads the header from `self.head` in its constructor and calls `_start`.

    Attributes:
        chunk_bytes: how much is decoded at once: about as many events as the caches of a core hold.
        head: the first bytes of the file, a header's worth.
        decoder: turns the bytes behind the header into packets.
    """

    chunk_bytes: ClassVar[int] = 128 * 1024
    decoder: Decoder

    def __init__(self, path: Path, **options: str) -> None:
        super().__init__(path, **options)
        try:
            self._file = path.open("rb", buffering=0)
            self.head = self._file.read(HEAD_BYTES)
        except OSError as error:
            raise self._unreadable(error) from error
        self._ended = False

    def _start(self, decoder: Decoder, header_bytes: int) -> None:
        """Read on behind the header with this decoder."""
        self.decoder = decoder
        self.skipped = decoder.skipped
        self._file.seek(header_bytes)

    def read_packet(self) -> EventPacket | None:
        """Return the next events; chunks without any are passed over."""
        while not self._ended:
            packet = self._decode_chunk()
            if len(packet):
                return packet
        return None

    def _decode_chunk(self) -> EventPacket:
        try:
            data = self._file.read(self.chunk_bytes)
        except OSError as error:
            self._ended = True
            raise self._unreadable(error) from error
        if not data:
            self._ended = True
            self._check_end()
            return EventPacket.empty()
        return self.decoder.decode(data)

    def _check_end(self) -> None:
        if self.decoder.pending:
            raise self.fault(
                "truncated: the file ends inside an event",
                "all events before it were delivered; copy or record the file again for the rest",
                where=f"byte {self._file.tell() - len(self.decoder.pending)}",
            )

    def _refuse(self, expected: str, remedy: str, where: str | None = None) -> EventFileError:
        """Close the file of a header that is not what it should be; the caller raises what is returned."""
        self.close()
        return self.fault(expected, remedy, where=where)

    def _unreadable(self, error: OSError) -> EventFileError:
        return self.fault(f"cannot be read: {error.strerror or error}", "check that it is a file and may be read")

    def close(self) -> None:
        """Give the file back. May be called twice."""
        self._ended = True
        self._file.close()
