"""Text: one event per line, four or more columns separated by blanks, commas, tabs or semicolons.

Lines that begin with `#` or `%` are comments. A line of names before the first event gives the order of the columns;
without one the order is t x y p, or as `?columns=` states. A line that is not an event is reported by its number, and
only that line is lost.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from eventveil.errors import EventError, EventFileError
from eventveil.events import EventPacket, Sensor
from eventveil.io.formats.columns import FIELDS, STATE_COLUMNS, ColumnError, find_fields, parse_unit, to_packet
from eventveil.io.formats.reader import Reader

BLOCK = 1 << 20  # bytes read at once
MAX_LINE = 4_096  # bytes; no event takes more
SEPARATORS = (",", ";")  # otherwise blanks and tabs
GEOMETRY = re.compile(r"^[#%]\s*geometry\s*[:=]?\s*(\d{1,5}x\d{1,5})\s*$", re.IGNORECASE)
SIZED_NAMES = re.compile(r"\bx@(\d{1,5})\s*[,;\s]\s*y@(\d{1,5})\b")  # as written by faery: t,x@640,y@480,on
STATED = "lines of t x y p, or a line of column names before them, or an order stated as in ?columns=x,y,p,t"


class TextReader(Reader):
    """Reads text in blocks of about a megabyte; each block is one packet.

    Options: `columns`, the order of the columns, as in `columns=x,y,p,t`; `unit`, the unit of t: us, ms, s, ns or a
    number of microseconds such as 100us. Times with fractions need a stated unit.
    """

    format = "CSV"
    suffixes = (".csv", ".txt", ".tsv")
    options = frozenset({"columns", "unit"})

    def __init__(self, path: Path, **options: str) -> None:
        super().__init__(path, **options)
        self._lines: list[str] = []  # read but not yet parsed
        self._number = 1  # line number of the first of them, from 1
        self._rest = b""  # start of a line whose end has not been read
        self._fault: EventFileError | None = None
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise self.fault(f"cannot be opened: {error.strerror}", "check the path and its permissions") from error
        try:
            self._unit = parse_unit(options["unit"]) if "unit" in options else None
            self._read_header(options.get("columns"))
        except (ColumnError, EventError) as error:
            self.close()
            raise self.fault(f"expected events as text, found {error}", STATED) from error
        except BaseException:
            self.close()
            raise

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Check the first line that is not a comment: four numbers, or the names of four columns."""
        lines = head[: head.rfind(b"\n") + 1] or head
        first = next((line for line in lines.decode("latin-1").split("\n") if _is_data(line)), "")
        cells = _cells(first)
        return len(first) <= MAX_LINE and first.isascii() and (_are_numbers(cells[:4]) or _are_names(cells))

    def _read_header(self, stated: str | None) -> None:
        self._next_block()
        ahead = next((place for place, line in enumerate(self._lines) if _is_data(line)), len(self._lines))
        for line in self._lines[:ahead]:
            if geometry := GEOMETRY.match(line.strip()):
                self.sensor = Sensor.parse(geometry[1])
        if ahead == len(self._lines):
            raise ColumnError("neither column names nor events")
        first = self._lines[ahead]
        if sizes := SIZED_NAMES.search(first):
            self.sensor = Sensor(int(sizes[1]), int(sizes[2]))
        self._separator = next((separator for separator in SEPARATORS if separator in first), None)
        names = _cells(first)
        if _are_numbers(names[:1]):
            self._take(ahead)
            if stated is None and len(names) != len(FIELDS):
                raise ColumnError(f"{len(names)} columns of an unknown order; {STATE_COLUMNS}")
        else:
            self._take(ahead + 1)
        if stated is not None or _are_numbers(names[:1]):
            names = list(FIELDS) if stated is None else stated.split(",")
        self._places = find_fields(names)
        self.metadata["columns"] = names

    def read_packet(self) -> EventPacket | None:
        """Return the events of the next block of lines, up to an invalid line; the next call raises its fault."""
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault
        if not self._lines and not self._next_block():
            return None
        try:
            packet = self._parse(self._lines)
            self._take(len(self._lines))
        except ValueError:
            packet = self._parse_to_fault()
        return packet

    def _parse(self, lines: list[str]) -> EventPacket:
        events = [line for line in lines if line[:1].isdecimal() or _is_data(line)]  # most begin with a digit
        if not events:
            return EventPacket.empty()
        table = np.loadtxt(
            events, np.float64, comments=None, delimiter=self._separator, usecols=list(self._places.values()), ndmin=2
        )
        return to_packet(dict(zip(self._places, table.T, strict=True)), self._unit)

    def _parse_to_fault(self) -> EventPacket:
        """Find the first line that does not parse by bisection; parse the lines before it."""
        good, bad = 0, len(self._lines)
        while bad - good > 1:
            middle = (good + bad) // 2
            try:
                self._parse(self._lines[good:middle])
                good = middle
            except ValueError:
                bad = middle
        packet = self._parse(self._lines[:good])
        self._take(good)
        self._fault = self._line_fault()
        self._take(1)
        return packet

    def _line_fault(self) -> EventFileError:
        content = "something else"
        try:
            self._parse(self._lines[:1])
        except ColumnError as error:
            content = str(error)
        except ValueError:
            pass  # numpy's message holds the text itself
        self.skipped["line that is no event"] += 1
        return self.fault(
            f"expected an event as {len(self._places)} numbers, found {content}",
            "correct or remove the line",
            where=f"line {self._number}",
            recoverable=True,
        )

    def _next_block(self) -> bool:
        """Read whole lines; return False at the end of the file."""
        while not self._lines:
            if len(self._rest) > MAX_LINE:
                self._rest = b""
                self._file.seek(0, os.SEEK_END)
                raise self.fault(
                    f"expected lines of at most {MAX_LINE} bytes, found a longer one",
                    "this is not a text of events",
                    where=f"line {self._number}",
                )
            block = self._file.read(BLOCK)
            text = self._rest + block
            if not text:
                return False
            end = text.rfind(b"\n") + 1 if len(block) == BLOCK else len(text)
            self._rest = text[end:]
            self._lines = text[:end].decode("latin-1").split("\n")
            if not self._lines[-1]:
                self._lines.pop()
        return True

    def _take(self, lines: int) -> None:
        self._lines = self._lines[lines:]
        self._number += lines

    def close(self) -> None:
        """Close the file. May be called twice."""
        self._file.close()


def _is_data(line: str) -> bool:
    start = line.lstrip()[:1]
    return start not in ("", "#", "%")


def _cells(line: str) -> list[str]:
    return [cell.partition("@")[0] for cell in re.split(r"\s*[,;]\s*|\s+", line.strip())]


def _are_numbers(cells: list[str]) -> bool:
    try:
        return bool([float(cell) for cell in cells])
    except ValueError:
        return False


def _are_names(cells: list[str]) -> bool:
    try:
        return len(find_fields(cells)) == len(FIELDS)
    except ColumnError:
        return False
