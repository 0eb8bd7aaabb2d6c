"""The layout of a text of events: separator, order of the columns, unit, geometry, coding of the polarity.

Other programs state these in comments (`%geometry:640,480` by Metavision), in a line of column names, quoted or not, or
in a first line `240 180` (the Event-Camera Dataset). What a file states is obeyed or refused, never ignored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from eventveil.events import Sensor
from eventveil.io.formats.columns import FIELDS, NAMES, STATE_COLUMNS, ColumnError, find_fields, find_unit, split_name
from eventveil.io.formats.text_kernel import BLANKS, ONE_TWO, SIGNED

MAX_LINE = 4_096  # bytes; no event takes more
UTF8_MARK = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
SIZE = r"(\d{1,5})\s*[x,]\s*(\d{1,5})"
GEOMETRY = re.compile(rf"[#%]\s*geometry\s*[:=]?\s*{SIZE}\s*", re.IGNORECASE)
METAVISION = re.compile(rf"%\s*geometry:{SIZE}\s*", re.IGNORECASE)
SIZED_NAMES = re.compile(r"\bx@(\d{1,5})\s*[,;\s]\s*y@(\d{1,5})\b")  # as written by faery: t,x@640,y@480,on
SIZE_LINE = re.compile(r"\s*(\d{1,5})\s+(\d{1,5})\s*")
METAVISION_ORDER = ("x", "y", "p", "t")
SAMPLE = 1_000  # events from which the coding of the polarity is taken
_LABEL = re.compile(r"^\s*(columns?|order|fields?|format)\b\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TextLayout:
    """How to read the lines of a text.

    Attributes:
        header_lines: how many lines precede the first event.
        names: one name per column.
        separator: the byte between two columns, or `BLANKS`.
        coding: coding of the polarity, SIGNED or ONE_TWO.
        unit: microseconds per unit of time, or None if it is not stated.
        sensor: geometry, or None if it is not stated.
    """

    header_lines: int
    names: tuple[str, ...]
    separator: int
    coding: int
    unit: Fraction | None
    sensor: Sensor | None

    @property
    def places(self) -> list[int]:
        """The columns of t, x, y and p."""
        places = find_fields(self.names)
        return [places[field] for field in FIELDS]


def looks_like_events(lines: Sequence[str]) -> bool:
    """Return whether the first line that is not a comment holds numbers or the names of four columns."""
    rows = [line for line in lines if is_data(line)][:2]
    if rows and len(rows) > 1 and SIZE_LINE.fullmatch(rows[0]):
        rows = rows[1:]
    if not rows or len(rows[0]) > MAX_LINE or not rows[0].isascii():
        return False
    cells = split_cells(rows[0], find_separator(rows[0]))
    return _are_numbers(cells) or _are_names(cells)


def read_layout(lines: Sequence[str], columns: str | None, unit: str | None) -> TextLayout:
    """Find the layout of a text from its first lines.

    Args:
        lines: the first lines, as many as there are at hand.
        columns: the order of the columns, if the user states it.
        unit: the unit of time, if the user states it.

    Raises:
        ColumnError: there are no events, or what the file states about them is incomplete or contradictory.
        EventError: the stated geometry is impossible.
    """
    rows = [(number, line) for number, line in enumerate(lines) if is_data(line)]
    if not rows:
        raise ColumnError("neither column names nor events")
    comments = [line.strip() for line in lines[: rows[0][0]] if line.strip()]
    sensor = _geometry(comments)
    if len(rows) > 1 and (size := SIZE_LINE.fullmatch(rows[0][1])):
        sensor = Sensor(int(size[1]), int(size[2]))
        del rows[0]
    names_line = None
    if not _is_event(rows[0][1]):
        names_line = rows.pop(0)[1]
        if sizes := SIZED_NAMES.search(names_line):
            sensor = Sensor(int(sizes[1]), int(sizes[2]))
    header_lines = rows[0][0] if rows else len(lines)
    separator = find_separator(rows[0][1] if rows else names_line or "")
    events = [split_cells(line, separator) for _, line in rows[:SAMPLE]]
    names = _order(columns, names_line, comments, events, separator)
    layout = TextLayout(header_lines, tuple(names), separator, SIGNED, find_unit(names, unit), sensor)
    place = layout.places[3]
    polarities = {cells[place] for cells in events if len(cells) == len(names)}
    return TextLayout(header_lines, layout.names, separator, _coding(polarities), layout.unit, sensor)


def is_data(line: str) -> bool:
    """Return whether a line is neither blank nor a comment."""
    return line.lstrip()[:1] not in ("", "#", "%")


def find_separator(line: str) -> int:
    """Return the byte that separates the columns of a line, or BLANKS."""
    for separator in ";,":
        if separator in line:
            return ord(separator)
    runs = re.findall(r"\s+", line.strip())
    return ord("\t") if runs and all("\t" in run for run in runs) else BLANKS


def split_cells(line: str, separator: int) -> list[str]:
    """Split a line into cells, without blanks and quotes around them."""
    parts = line.split() if separator == BLANKS else line.strip(" \r").split(chr(separator))
    return [_unquote(part.strip()) for part in parts]


def _unquote(cell: str) -> str:
    return cell[1:-1].strip() if len(cell) >= 2 and cell[0] == cell[-1] and cell[0] in "\"'" else cell


def _order(
    columns: str | None, names_line: str | None, comments: Sequence[str], events: list[list[str]], separator: int
) -> list[str]:
    """Return the names of the columns, as the user, a line of names or a comment states them, or t, x, y, p."""
    cells = len(events[0]) if events else None
    if columns is not None:
        names, by = columns.split(","), "?columns states"
    elif names_line is not None:
        names, by = _split_names(names_line, separator), "the line of column names has"
    elif order := _order_in_comments(comments, cells or 0, separator):
        names, by = order, "a comment names"
    else:
        return _default_order(comments, events)
    if cells is not None and len(names) != cells:
        raise ColumnError(f"{cells} columns, but {by} {len(names)}")
    find_fields(names)
    return names


def _order_in_comments(comments: Sequence[str], cells: int, separator: int) -> list[str] | None:
    for comment in comments:
        text = comment.lstrip("#% \t")
        names = _split_names(_LABEL.sub("", text).lstrip(":= "), separator)
        words = _split_names(text, BLANKS)
        if len(names) == cells and _are_names(names):
            return names
        if {NAMES.get(split_name(word)[0]) for word in words} >= set(FIELDS):
            raise ColumnError(f"a comment that names t, x, y and p, but not as {cells} columns; {STATE_COLUMNS}")
    return None


def _default_order(comments: Sequence[str], events: list[list[str]]) -> list[str]:
    """Return the order of a text that states none: t, x, y, p, or Metavision's, if the values agree."""
    if len(events[0]) != len(FIELDS):
        raise ColumnError(f"{len(events[0])} columns in an unknown order; {STATE_COLUMNS}")
    whole = [cells for cells in events if len(cells) == len(FIELDS)]
    if _are_polarities([cells[3] for cells in whole]):
        return list(FIELDS)
    if not _are_polarities([cells[2] for cells in whole]):
        return list(FIELDS)  # some lines are damaged; they are reported one by one
    if any(METAVISION.fullmatch(comment) for comment in comments):
        return list(METAVISION_ORDER)
    raise ColumnError(f"polarities in the third column, and no stated order; {STATE_COLUMNS}")


def _coding(polarities: set[str]) -> int:
    """Return the coding of the polarity: 1 and 2 only if a 2 occurs, and nothing that contradicts it."""
    values = {_value(cell) for cell in polarities}
    return ONE_TWO if 2 in values and not values & {0, -1} else SIGNED


def _geometry(comments: Sequence[str]) -> Sensor | None:
    matches = [match for comment in comments if (match := GEOMETRY.fullmatch(comment))]
    return Sensor(int(matches[-1][1]), int(matches[-1][2])) if matches else None


def _split_names(line: str, separator: int) -> list[str]:
    line = re.sub(r"\s+(?=[\[(])", "", line)  # `time (us)` is one name
    if separator == BLANKS and ("," in line or ";" in line):
        return [part.partition("@")[0] for part in re.split(r"\s*[,;]\s*", line.strip())]
    return [cell.partition("@")[0] for cell in split_cells(line, separator)]


def _is_event(line: str) -> bool:
    return any(_value(cell) is not None for cell in split_cells(line, find_separator(line)))  # a name is no number


def _are_numbers(cells: list[str]) -> bool:
    return bool(cells) and all(_value(cell) is not None for cell in cells[:3])


def _are_names(cells: list[str]) -> bool:
    try:
        return len(find_fields(cells)) == len(FIELDS)
    except ColumnError:
        return False


def _are_polarities(cells: list[str]) -> bool:
    values = {_value(cell) for cell in cells}
    words = {cell.lower() for cell in cells if _value(cell) is None}
    return words <= {"true", "false", "on", "off"} and (values - {None} <= {0, 1, -1} or values - {None} <= {1, 2})


def _value(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
