"""The text header of Prophesee's RAW and DAT files, and the readers' common parts.

The header is lines `% key value`, up to `% end` or, in older files, up to the first byte that is not such a line:

    % evt 3.0
    % format EVT3;height=720;width=1280
    % geometry 1280x720
    % end

Firmware of different years states the same thing under different keys, or not at all; a geometry that is not stated is
not guessed. faery writes the start of the recording here (`% t0 N`, microseconds), because the words after the header
count from zero; our writer does the same.

Source: Prophesee, "RAW file format" and "DAT file format" (docs.prophesee.ai, data and file formats).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from eventveil.errors import EventError, EventFileError
from eventveil.events import EventPacket, Sensor
from eventveil.io.formats.chunked import ChunkedReader
from eventveil.io.formats.decoder import TypedWordDecoder
from eventveil.io.formats.reader import ANY_STEP_US

# Letters of any encoding: names of people have them. Control characters do not occur, but soon do in words.
_LINE = re.compile(rb"%[ \t]?((?:[A-Za-z_][\x20-\x7e\x80-\xff\t]*)?)\r?\n")
# Up to a line `% end`, whatever the lines hold: no word of data is meant.
_ENDED = re.compile(rb"(?:%[^\n]*\n)*?%[ \t]*end[ \t]*\r?\n", re.IGNORECASE)
_ENCODINGS = {"2.0": "EVT2", "2.1": "EVT21", "3.0": "EVT3"}


@dataclass(frozen=True, slots=True)
class PropheseeHeader:
    """The parsed header lines.

    Attributes:
        fields: value by key, keys in lower case.
        options: `height=720`, `width=1280`, `endianness=legacy`, ... from the line `format`.
        size: bytes from the start of the file to the first word of data.
    """

    fields: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    size: int = 0

    @property
    def encoding(self) -> str | None:
        """`EVT2`, `EVT21`, `EVT3` or any other name in the header; None if it names none."""
        if "format" in self.fields:
            return self.fields["format"].split(";")[0].strip().upper()
        version = self.fields.get("evt")
        return None if version is None else _ENCODINGS.get(version, f"EVT {version}")

    @property
    def sensor(self) -> Sensor | None:
        """Geometry as stated by `geometry`, by the options of `format`, or by `width` and `height`.

        Raises:
            EventError: the stated geometry is impossible.
        """
        if "geometry" in self.fields:
            return Sensor.parse(self.fields["geometry"])
        for stated in (self.options, self.fields):
            if "width" in stated and "height" in stated:
                return Sensor.parse(f"{stated['width']}x{stated['height']}")
        return None

    @property
    def origin_us(self) -> int:
        """The time at which the clock of the words was zero, microseconds.

        Raises:
            ValueError: `t0` is not a whole number, or so large that later times do not fit 64 bits.
        """
        origin_us = int(self.fields.get("t0", "0"))
        if abs(origin_us) >= 1 << 62:
            raise ValueError(f"t0 is {origin_us}")
        return origin_us


def parse_header(head: bytes) -> PropheseeHeader:
    """Parse the header lines at the start of a file; a file without any has an empty header of size 0."""
    lines, size = _header_lines(head)
    fields: dict[str, str] = {}
    for line in lines:
        key, _, value = _decode_text(line).strip().partition(" ")
        if key:
            fields[key.lower()] = value.strip()
    options = dict(part.strip().split("=", 1) for part in fields.get("format", "").split(";") if "=" in part)
    return PropheseeHeader(fields, options, size)


def _header_lines(head: bytes) -> tuple[list[bytes], int]:
    """Return the lines without their `%`, and the size of the header."""
    if ended := _ENDED.match(head):
        return [line[1:] for line in ended[0].splitlines()[:-1]], ended.end()
    lines, size = [], 0
    while line := _LINE.match(head, size):
        size = line.end()
        lines.append(line[1])
    return lines, size


def _decode_text(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")


class PropheseeReader(ChunkedReader):
    """Reads the header; the subclass reads what follows.

    Attributes:
        header: the header, empty if there is none.
        origin_us: the time at which the clock of the words was zero.
    """

    def __init__(self, path: Path, **options: str) -> None:
        super().__init__(path, **options)
        self.header = parse_header(self.head)
        self.metadata = dict(self.header.fields)
        try:
            self.sensor = self.header.sensor
            self.origin_us = self.header.origin_us
        except (EventError, ValueError) as error:
            remedy = "correct the header or read another file"
            raise self._refuse(f"its header is invalid: {error}", remedy) from error


class RawReader(PropheseeReader):
    """Reads a RAW file whose header names the encoding; rejects data that is mostly words of unknown type.

    Attributes:
        encoding: the encoding as the header's line `format` names it, `EVT21` for EVT 2.1.
    """

    suffixes = (".raw",)
    single_words = True
    near_us = ANY_STEP_US
    encoding: ClassVar[str]
    decoder: TypedWordDecoder

    def __init__(self, path: Path, **options: str) -> None:
        super().__init__(path, **options)
        if self.header.encoding != self.encoding:
            raise self._refuse(
                f"expected a header that names EVT2, EVT2.1 or EVT3, found {self.header.encoding or 'none'}",
                "read another file, or convert it with the manufacturer's tools",
            )

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Check the encoding that the header names."""
        return parse_header(head).encoding == cls.encoding

    def _decode_chunk(self) -> EventPacket:
        packet = super()._decode_chunk()
        if 2 * self.decoder.unknown > self.decoder.words:
            self._ended = True
            raise self._undecodable(f"{self.decoder.unknown} of the first {self.decoder.words} are of no known type")
        return packet

    def _check_end(self) -> None:
        if self.decoder.words and not self.decoder.started:
            raise self._undecodable(f"none of {self.decoder.words} holds the time")
        super()._check_end()

    def _undecodable(self, found: str) -> EventFileError:
        return self.fault(
            f"expected {self.format} words after the header, but {found}",
            "the data is damaged, or its encoding is not the one that the header states",
            where=f"byte {self.header.size}",
        )
