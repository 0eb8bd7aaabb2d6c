"""What the readers of Prophesee's RAW files share beside the header: the distrust of words that make no sense."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from eventveil.errors import EventFileError
from eventveil.events import EventPacket
from eventveil.io.formats.decoder import TypedWordDecoder
from eventveil.io.formats.prophesee import PropheseeReader, parse_header


class RawReader(PropheseeReader):
    """Reads a RAW file whose header names the encoding.

    Attributes:
        encoding: what the header's line `format` says, `EVT21` for EVT 2.1.
    """

    suffixes = (".raw",)
    encoding: ClassVar[str]
    decoder: TypedWordDecoder

    def __init__(self, path: Path, **options: str) -> None:
        super().__init__(path, **options)
        if self.header.encoding != self.encoding:
            raise self._refuse(
                f"expected a header that names EVT2, EVT2.1 or EVT3, found {self.header.encoding or 'none'}",
                "read another file, or convert it with the maker's tools",
            )

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Tell by the encoding that the header names."""
        return parse_header(head).encoding == cls.encoding

    def _decode_chunk(self) -> EventPacket:
        packet = super()._decode_chunk()
        if 2 * self.decoder.unknown > self.decoder.words:
            self._ended = True
            raise self._senseless(f"{self.decoder.unknown} of the first {self.decoder.words} are of no known type")
        return packet

    def _check_end(self) -> None:
        if self.decoder.words and not self.decoder.started:
            raise self._senseless(f"none of {self.decoder.words} tells the time")
        super()._check_end()

    def _senseless(self, found: str) -> EventFileError:
        return self.fault(
            f"expected {self.format} words behind the header, but {found}",
            "the data is damaged or in another encoding than the header says",
            where=f"byte {self.header.size}",
        )
