"""Read a file in chunks through a decoder, and distinguish a complete file from a truncated one."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from eventveil.errors import EventFileError
from eventveil.events import EventPacket
from eventveil.io.formats.decoder import Decoder
from eventveil.io.formats.reader import SKIP, Reader

HEAD_BYTES = 64 * 1024


class ChunkedReader(Reader):
    """Reads a file in chunks through a decoder; its memory use is one chunk and the decoder's state.

    A subclass reads the header from `self.head` in its constructor and calls `_start`.

    Attributes:
        chunk_bytes: how much is decoded at once: about as many events as fit into the caches of a core.
        head: the first 64 KiB of the file, which include the header.
        decoder: turns the bytes after the header into packets.
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
        """Continue reading after the header, with this decoder."""
        self.decoder = decoder
        self.skipped = decoder.skipped
        self._file.seek(header_bytes)

    def read_packet(self) -> EventPacket | None:
        """Return the next events; chunks without events are skipped."""
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
        if data:
            return self.decoder.decode(data)
        packet = self.decoder.finish()
        if not len(packet):
            self._ended = True
            self._check_end()
        return packet

    def _check_end(self) -> None:
        if self.decoder.pending:
            raise self.fault(
                "truncated: the file ends inside an event",
                f"all events before it were delivered; {SKIP}",
                where=f"byte {self._file.tell() - len(self.decoder.pending)}",
            )

    def _refuse(self, expected: str, remedy: str, where: str | None = None) -> EventFileError:
        """Close the file because its header is invalid; return the error for the caller to raise."""
        self.close()
        return self.fault(expected, remedy, where=where)

    def _unreadable(self, error: OSError) -> EventFileError:
        return self.fault(f"cannot be read: {error.strerror or error}", "check that it is a file and readable")

    def close(self) -> None:
        """Close the file. May be called twice."""
        self._ended = True
        self._file.close()
