"""Spans of long text recordings, found without reading what lies before them.

A recording of Event-ReId is text of several megabytes that is used as a hundred windows. Its lines are in the order of
time, so the first line of a window is found by halving.
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

MAX_LINE = 256  # bytes; no event takes more
SIZE_LINE = re.compile(rb"\s*(\d{1,5})\s+(\d{1,5})\s*")  # width and height, before the first event


@dataclass(frozen=True, slots=True)
class TextSpan:
    """Where the events of a text recording lie.

    Attributes:
        path: the file, with a line `t x y p` for each event.
        sensor: geometry, as the file's first line has it, or else as given.
        begin: byte at which the first event begins.
        end: byte behind the last event.
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
    """Look at the two ends of a text recording.

    Raises:
        DatasetError: there is no event at one of them.
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
    """Open the events from `start` (included) to `stop` (excluded), both in the unit of the file.

    Raises:
        DatasetError: a line on the way is no event.
    """
    from eventveil.io.validation.gate import Gate  # here, because it compiles, as in eventveil.io.source

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
    def recognises(cls, head: bytes) -> bool:  # noqa: ARG003 - nobody asks: `open_span` knows
        """Return False: text is the matter of `eventveil.io.formats.text`."""
        return False

    def read_packet(self) -> EventPacket | None:
        """Return all events of the span."""
        text, self._text = self._text, b""
        if not text.strip():
            return None
        try:
            table = np.loadtxt(io.BytesIO(text), np.float64, comments=None, usecols=range(len(FIELDS)), ndmin=2)
            return to_packet(dict(zip(FIELDS, table.T, strict=True)), self._unit)
        except (ValueError, ColumnError):  # from None: numpy's message holds the text itself
            raise self.fault("expected lines of t x y p, found something else", "fetch the file again") from None

    def close(self) -> None:
        """Forget what was not read."""
        self._text = b""


def _find(file: IO[bytes], span: TextSpan, time: float) -> int:
    """Return where the first line begins whose time is not before `time`, by halving the bytes."""
    low, high = span.begin, span.end
    while low < high:
        middle = (low + high) // 2
        if middle > span.begin:  # to the first line that begins at the middle or behind
            file.seek(middle - 1)
            file.readline()
        else:
            file.seek(middle)
        place = file.tell()
        line = file.readline(MAX_LINE)
        if place >= span.end or _time_of(line, span.path) >= time:
            high = middle
        else:
            low = place + len(line)
    return low


def _time_of(line: bytes, path: Path) -> float:
    try:
        t, _, _, _ = (float(number) for number in line.split())
    except ValueError:
        t = float("nan")
    if not np.isfinite(t):
        raise DatasetError(f"{path}: expected lines of t x y p, found something else; fetch the file again") from None
    return t
