"""What Prophesee's RAW and DAT files share: a header of text.

Lines `% key value`, up to `% end` or, in older files, up to the first byte that no longer reads as such a line:

    % evt 3.0
    % format EVT3;height=720;width=1280
    % geometry 1280x720
    % end

Firmware of different years says the same thing with different keys, or not at all; a geometry that is not stated is
not guessed. faery notes here when the recording began (`% t0 N`, microseconds), because the words behind the header
count from zero; so does our writer.

Source: Prophesee, "RAW file format" and "DAT file format" (docs.prophesee.ai, data and file formats).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from eventveil.errors import EventError
from eventveil.events import Sensor
from eventveil.io.formats.chunked import ChunkedReader

_LINE = re.compile(rb"%[ \t]?([\x20-\x7e\t]*)\r?\n")
_ENCODINGS = {"2.0": "EVT2", "2.1": "EVT21", "3.0": "EVT3"}


@dataclass(frozen=True, slots=True)
class PropheseeHeader:
    """What the lines say.

    Attributes:
        fields: value by key, keys in lower case.
        options: `height=720`, `width=1280`, `endianness=legacy`, ... of the line `format`.
        size: bytes from the start of the file to the first word of data.
    """

    fields: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    size: int = 0

    @property
    def encoding(self) -> str | None:
        """`EVT2`, `EVT21`, `EVT3`, or what else the header names; None where it names nothing."""
        if "format" in self.fields:
            return self.fields["format"].split(";")[0].strip().upper()
        version = self.fields.get("evt")
        return None if version is None else _ENCODINGS.get(version, f"EVT {version}")

    @property
    def sensor(self) -> Sensor | None:
        """Geometry as stated by `geometry`, by the options of `format`, or by `width` and `height`.

        Raises:
            EventError: a geometry is stated and impossible.
        """
        if "geometry" in self.fields:
            return Sensor.parse(self.fields["geometry"])
        for stated in (self.options, self.fields):
            if "width" in stated and "height" in stated:
                return Sensor.parse(f"{stated['width']}x{stated['height']}")
        return None

    @property
    def origin_us(self) -> int:
        """When the clock of the words was zero.

        Raises:
            ValueError: `t0` is not a whole number, or so far off that no time behind it fits 64 bits.
        """
        origin_us = int(self.fields.get("t0", "0"))
        if abs(origin_us) >= 1 << 62:
            raise ValueError(f"t0 is {origin_us}")
        return origin_us


def parse_header(head: bytes) -> PropheseeHeader:
    """Read the header lines at the start of a file; a file without any has an empty header of size 0."""
    fields: dict[str, str] = {}
    size = 0
    while line := _LINE.match(head, size):
        size = line.end()
        key, _, value = line[1].decode("ascii").strip().partition(" ")
        if key.lower() == "end":
            break
        if key:
            fields[key.lower()] = value.strip()
    options = dict(part.strip().split("=", 1) for part in fields.get("format", "").split(";") if "=" in part)
    return PropheseeHeader(fields, options, size)


class PropheseeReader(ChunkedReader):
    """Reads what the header says; what follows it is up to the subclass.

    Attributes:
        header: the header, empty where there is none.
        origin_us: when the clock of the words was zero.
    """

    def __init__(self, path: Path, **options: str) -> None:
        super().__init__(path, **options)
        self.header = parse_header(self.head)
        self.metadata = dict(self.header.fields)
        try:
            self.sensor = self.header.sensor
            self.origin_us = self.header.origin_us
        except (EventError, ValueError) as error:
            raise self._refuse(f"its header makes no sense: {error}", "mend the header or read another file") from error
