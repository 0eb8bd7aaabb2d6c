"""Text: one event per line, four or more columns separated by blanks, commas, tabs or semicolons.

Lines that begin with `#` or `%` are comments. `text_layout.py` finds the order of the columns and everything else that
the first lines state, `text_kernel.py` reads the numbers. What is wrong with all lines is reported once, at opening; a
single line that is not an event is reported by its number, and only that line is lost.
"""

from __future__ import annotations

import os
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eventveil.errors import EventError, EventFileError
from eventveil.events import EventPacket
from eventveil.io.formats import text_kernel as kernel
from eventveil.io.formats.columns import STATE_UNIT, ColumnError, check_date, check_resolution, split_remedy
from eventveil.io.formats.decoder import empty_columns
from eventveil.io.formats.reader import Reader
from eventveil.io.formats.text_layout import MAX_LINE, UTF8_MARK, UTF16_MARKS, looks_like_events, read_layout

BLOCK = 1 << 18  # bytes read at once
HEAD_LINES = 2_000  # from which the layout is taken
SHORTEST_LINE = len("0 0 0 0\n")
TRIED = 100  # lines; if most of them are faulty, the whole file is refused
STATED = "write lines of t x y p, or a line of column names before them, or state an order as in ?columns=x,y,p,t"


class TextReader(Reader):
    """Reads text in blocks of a quarter of a megabyte, which stay in the cache; each block is one packet.

    Options: `columns`, the order of the columns, as in `columns=x,y,p,t`; `unit`, the unit of t: us, ms, s, ns or a
    number of microseconds such as 100us. Times with fractions need a unit, stated here or in the name of the column.
    """

    format = "CSV"
    suffixes = (".csv", ".txt", ".tsv")
    single_words = True
    options = frozenset({"columns", "unit"})

    def __init__(self, path: Path, **options: str) -> None:
        super().__init__(path, **options)
        self._block = b""  # whole lines, each with its end
        self._at = 0  # where the first line begins that has not been read
        self._number = 1  # the number of that line, from 1
        self._rest = b""  # start of a line whose end has not been read
        self._fault: EventFileError | None = None
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise self.fault(f"cannot be opened: {error.strerror}", "check the path and its permissions") from error
        try:
            self._read_header(options.get("columns"), options.get("unit"))
            self._try_first_lines()
        except (ColumnError, EventError) as error:
            self.close()
            found, remedy = split_remedy(str(error), otherwise=STATED)
            raise self.fault(f"expected events as text, found {found}", remedy) from error
        except BaseException:
            self.close()
            raise

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Check the first line that is not a comment: numbers, or the names of four columns."""
        head = head.removeprefix(UTF8_MARK)
        lines = _with_newlines(head[: max(head.rfind(b"\n"), head.rfind(b"\r")) + 1] or head)
        return looks_like_events(lines.decode("latin-1").split("\n"))

    def _read_header(self, columns: str | None, unit: str | None) -> None:
        if not self._next_block():
            raise ColumnError("neither column names nor events")
        if self._block.startswith(UTF16_MARKS):
            raise ColumnError("text in UTF-16; save it as UTF-8")
        lines = [line.rstrip("\r") for line in self._block.decode("latin-1").split("\n", HEAD_LINES)[:HEAD_LINES]]
        layout = read_layout(lines, columns, unit)
        self.sensor = layout.sensor
        self.metadata["columns"] = list(layout.names)
        self._unit = layout.unit
        factor = layout.unit or Fraction(1)
        self._arguments = (
            layout.separator,
            len(layout.names),
            np.array(layout.places, np.int64),
            np.array([factor.numerator, factor.denominator, layout.unit is not None], np.int64),
            layout.coding,
        )
        while self._number <= layout.header_lines and self._at < len(self._block):
            self._skip_line()

    def _try_first_lines(self) -> None:
        """Refuse a file whose times make no sense, or in which most of the lines from the first faulty one on are.

        Raises:
            ColumnError: it is such a file.
        """
        at, events, tried, faults = self._at, 0, 0, Counter[int]()
        while tried < TRIED and at < len(self._block):
            packet, _, at, kind = self._parse(at)
            check_resolution(packet.t, self._unit or Fraction(1))
            if self._unit is None:
                check_date(packet.t)
            events += len(packet)
            tried += len(packet) if faults else 0
            if kind != kernel.EVENT:
                tried += 1
                faults[kind] += 1
                at = self._block.index(b"\n", at) + 1
        if 2 * faults.total() > min(events + faults.total(), TRIED):
            content = kernel.FAULTS[faults.most_common(1)[0][0]]
            raise ColumnError(f"{content}; {STATE_UNIT}" if faults[kernel.FRACTION] else content)

    def read_packet(self) -> EventPacket | None:
        """Return the events of the next block of lines, up to an invalid line; the next call raises its fault."""
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault
        if self._at == len(self._block) and not self._next_block():
            return None
        packet, lines, self._at, kind = self._parse(self._at)
        self._number += lines
        if kind != kernel.EVENT:
            self._fault = self._line_fault(kind)
            self._skip_line()
        return packet

    def _parse(self, at: int) -> tuple[EventPacket, int, int, int]:
        """Parse lines up to the end of the block or a fault: events, lines, where it stopped, and what is there."""
        t, x, y, p = empty_columns((len(self._block) - at) // SHORTEST_LINE + 1)
        data: npt.NDArray[np.uint8] = np.frombuffer(self._block, np.uint8)
        n, lines, at, kind = kernel.parse_lines(data, at, *self._arguments, t, x, y, p)
        return EventPacket(t[:n], x[:n], y[:n], p[:n]), lines, at, kind

    def _line_fault(self, kind: int) -> EventFileError:
        self.skipped["line that is not an event"] += 1
        return self.fault(
            f"expected an event of {self._arguments[1]} columns, found {kernel.FAULTS[kind]}",
            "correct or remove the line",
            where=f"line {self._number}",
            recoverable=True,
        )

    def _skip_line(self) -> None:
        self._at = self._block.index(b"\n", self._at) + 1
        self._number += 1

    def _next_block(self) -> bool:
        """Read whole lines; return False at the end of the file."""
        while True:
            if len(self._rest) > MAX_LINE:
                self._rest = b""
                self._file.seek(0, os.SEEK_END)
                raise self.fault(
                    f"expected lines of at most {MAX_LINE} bytes, found a longer one",
                    "this is not a text of events",
                    where=f"line {self._number}",
                )
            at_start = self._file.tell() == 0
            block = self._file.read(BLOCK)
            text = self._rest + (block.removeprefix(UTF8_MARK) if at_start else block)
            if not text:
                return False
            is_last = len(block) < BLOCK
            held = b"\r" if text.endswith(b"\r") and not is_last else b""  # the rest of `\r\n` may follow
            text = _with_newlines(text[: len(text) - len(held)])
            if is_last and not text.endswith(b"\n"):
                text += b"\n"
            end = text.rfind(b"\n") + 1
            self._block, self._rest, self._at = text[:end], text[end:] + held, 0
            if self._block:
                return True

    def close(self) -> None:
        """Close the file. May be called twice."""
        self._file.close()


def _with_newlines(text: bytes) -> bytes:
    r"""Return text whose lines end with `\n` or `\r\n`, though they may have ended with `\r`."""
    if b"\r" in text and kernel.has_lone_return(np.frombuffer(text, np.uint8)):
        return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return text
