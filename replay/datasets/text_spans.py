"""Spans of long text recordings, found without reading what lies before them.

A recording of Event-ReId is text of several megabytes, used as a hundred windows. Its lines are in time order, so a
bisection finds the first line of a window.
"""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, ClassVar

import numpy as np

from eventveil.errors import DatasetError
from eventveil.events import EventPacket, Sensor
from eventveil.io.formats.columns import FIELDS, ColumnError, to_packet
from eventveil.io.formats.reader import Reader
from eventveil.io.source import Disorder, EventSource

MAX_LINE = 256  # bytes; more than an event takes
SIZE_LINE = re.compile(rb"\s*(\d{1,5})\s+(\d{1,5})\s*")  # width and height, before the first event


@dataclass(frozen=True, slots=True)
class TextSpan:
    """The extent of the events of a text recording, in bytes and in time.

    Attributes:
        path: the file, with one line `t x y p` per event.
        sensor: geometry, from the first line of the file where it states one, else as given.
        begin: byte offset of the first event.
        end: byte offset of the end of the last event.
        first: time of the first event, in the unit of the file.
        last: time of the last event.
    """

    path: Path
    sensor: Sensor
    begin: int
    end: int
    first: float
    last: float


def read_span(path: Path, sensor: Sensor) -> TextSpan:
    """Read the two ends of a text recording.

    Raises:
        DatasetError: one of them holds no event.
    """
    with path.open("rb") as file:
        size_line = SIZE_LINE.fullmatch(file.readline(MAX_LINE))
        begin = file.tell() if size_line else 0
        file.seek(begin)
        first = _time_of(file.readline(MAX_LINE), path)
        tail_begin = max(begin, file.seek(0, os.SEEK_END) - 2 * MAX_LINE)
        file.seek(tail_begin)
        tail = file.read().rstrip()
        last = _time_of((tail.splitlines() or [b""])[-1], path)
    if size_line:
        sensor = Sensor(int(size_line[1]), int(size_line[2]))
    return TextSpan(path, sensor, begin, tail_begin + len(tail), first, last)


def open_span(
    span: TextSpan, start: float, stop: float, unit_us: int, *, on_disorder: Disorder = "raise"
) -> EventSource:
    """Open the events from `start` (included) to `stop` (excluded), both in the unit of the file, `unit_us`.

    Raises:
        DatasetError: a line read on the way is not an event.
    """
    from eventveil.io.validation.gate import Gate  # here because it compiles, as in eventveil.io.source

    return EventSource(_SpanReader(span, start, stop, unit_us), Gate(span.sensor, on_disorder))


class _SpanReader(Reader):
    """Reads a span as one packet."""

    format: ClassVar[str] = "CSV"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, span: TextSpan, start: float, stop: float, unit_us: int) -> None:
        super().__init__(span.path)
        self.sensor = span.sensor
        self._unit = Fraction(unit_us)
        with span.path.open("rb") as file:
            begin = _find(file, span, start)
            end = _find(file, span, stop)
            file.seek(begin)
            self._text = file.read(end - begin)

    @classmethod
    def recognises(cls, head: bytes) -> bool:  # noqa: ARG003 - `open_span` knows the format
        """Return False: `eventveil.io.formats.text` recognises text files."""
        return False

    def read_packet(self) -> EventPacket | None:
        """Return all events of the span."""
        text, self._text = self._text, b""
        if not text.strip():
            return None
        try:
            table = np.loadtxt(io.BytesIO(text), np.float64, comments=None, usecols=range(len(FIELDS)), ndmin=2)
            return to_packet(dict(zip(FIELDS, table.T, strict=True)), self._unit)
        except (ValueError, ColumnError):  # from None: numpy's message quotes the text
            raise self.fault("expected lines of t x y p, found something else", "fetch the file again") from None

    def close(self) -> None:
        """Drop the unread text."""
        self._text = b""


def _find(file: IO[bytes], span: TextSpan, time: float) -> int:
    """Return the byte offset of the first line whose time is not before `time`, by bisection."""
    low, high = span.begin, span.end
    while low < high:
        middle = (low + high) // 2
        if middle > span.begin:  # to the first line that begins at the middle or later
            file.seek(middle - 1)
            file.readline()
        else:
            file.seek(middle)
        line_begin = file.tell()
        line = file.readline(MAX_LINE)
        if line_begin >= span.end or _time_of(line, span.path) >= time:
            high = middle
        else:
            low = line_begin + len(line)
    return low


def _time_of(line: bytes, path: Path) -> float:
    try:
        t, _, _, _ = (float(number) for number in line.split())
    except ValueError:
        t = float("nan")
    if not np.isfinite(t):
        raise DatasetError(f"{path}: expected lines of t x y p, found something else; fetch the file again") from None
    return t
