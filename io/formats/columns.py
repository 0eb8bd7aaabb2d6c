"""Columns of event tables: their names, their order, and the unit of time.

NumPy arrays, text and HDF5 hold the same four columns under many names and types. This module turns them into packets:
without a copy if the types match already, checked if they do not. What a file does not specify, the user states in the
name given to `open_events`: `trial.npy?columns=x,y,p,t&unit=ms`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from eventveil.events import MAX_PIXELS, EventPacket

FIELDS = ("t", "x", "y", "p")
NAMES = {
    **dict.fromkeys(("t", "ts", "time", "times", "timestamp", "timestamps"), "t"),
    **dict.fromkeys(("x", "xs"), "x"),
    **dict.fromkeys(("y", "ys"), "y"),
    **dict.fromkeys(("p", "ps", "pol", "polarity", "polarities", "on"), "p"),
}
UNITS = {"us": Fraction(1), "ms": Fraction(1_000), "s": Fraction(1_000_000), "ns": Fraction(1, 1_000)}
EXACT = 2**53  # the integers up to here are exact in a float64
STATE_UNIT = "state it after the name, as in ?unit=ms (us, ms, s, ns or a number of microseconds such as 100us)"
STATE_COLUMNS = "state it after the name, as in ?columns=t,x,y,p&unit=us"

Column = npt.NDArray[Any]


class ColumnError(ValueError):
    """The columns do not hold events. The message quotes no values, because it is logged."""


def find_fields(names: Sequence[str]) -> dict[str, int]:
    """Return the positions of t, x, y and p among column names, in any usual spelling; ignore other columns.

    Raises:
        ColumnError: one of the four is missing or appears twice.
    """
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        field = NAMES.get(name.strip().lower())
        if field in places:
            raise ColumnError(f"two columns for {field}")
        if field is not None:
            places[field] = place
    missing = [field for field in FIELDS if field not in places]
    if missing:
        raise ColumnError(f"no column for {', '.join(missing)}")
    return places


def parse_unit(text: str) -> Fraction:
    """Parse a unit of time (us, ms, s, ns or a number of microseconds such as 100us); return it in microseconds.

    Raises:
        ColumnError: it is none of these.
    """
    if text in UNITS:
        return UNITS[text]
    match = re.fullmatch(r"([1-9]\d{0,8})us", text)
    if match is None:
        raise ColumnError(f"unit {text!r} is none of {', '.join(UNITS)} or a number of microseconds such as 100us")
    return Fraction(int(match[1]))


def to_packet(columns: Mapping[str, Column], unit: Fraction | None = None) -> EventPacket:
    """Build a packet from four columns of the same length, as views if the types allow it.

    Args:
        columns: t, x, y and p, 1-D. Coordinates: whole numbers from 0 to 65,535. Polarity: bool, 0/1 or -1/+1.
        unit: microseconds per unit of t. None if it was not stated: whole microseconds.

    Raises:
        ColumnError: types or values that no event can have.
    """
    if any(column.ndim != 1 for column in columns.values()):
        raise ColumnError("more than one value per event")
    if len(columns["t"]) == 0:
        return EventPacket.empty()
    return EventPacket(
        to_microseconds(columns["t"], unit),
        _coordinates(columns["x"], "x"),
        _coordinates(columns["y"], "y"),
        _polarity(columns["p"]),
    )


def to_microseconds(times: Column, unit: Fraction | None = None) -> npt.NDArray[np.int64]:
    """Convert times in any unit to whole microseconds, rounded; without a copy if they are int64 microseconds.

    Raises:
        ColumnError: not numbers, fractions without a stated unit, or too large for 64 bits.
    """
    factor = UNITS["us"] if unit is None else unit
    if times.dtype.kind == "f":
        if unit is None and not (times == np.rint(times)).all():
            raise ColumnError(f"times with fractions, and no unit; {STATE_UNIT}")
        with np.errstate(over="ignore"):  # infinity is rejected below
            scaled = np.rint(times.astype(np.float64) * factor.numerator / factor.denominator)
        if not (np.abs(scaled) <= EXACT).all():
            raise ColumnError("times that are not numbers, or too large to be exact")
        return scaled.astype(np.int64)
    if times.dtype.kind not in "iu":
        raise ColumnError(f"times of type {times.dtype}")
    if factor == 1 and times.dtype == np.int64:
        return times
    if max(abs(int(times.min())), abs(int(times.max()))) * max(factor, Fraction(1)) >= 2**63:
        raise ColumnError("times too large for 64 bits")
    whole, rest = np.divmod(times.astype(np.int64) * factor.numerator, factor.denominator)
    return whole + (2 * rest >= factor.denominator) if factor.denominator > 1 else whole


def _coordinates(pixels: Column, field: str) -> npt.NDArray[np.uint16]:
    if pixels.dtype == np.uint16:
        return pixels
    if pixels.dtype.kind not in "iuf":
        raise ColumnError(f"{field} of type {pixels.dtype}")
    if pixels.dtype == np.int16 and pixels.min() >= 0:
        return pixels.view(np.uint16)
    pixels = np.ascontiguousarray(pixels)  # a copy costs less than several passes over scattered fields
    if not (pixels.min() >= 0 and pixels.max() < MAX_PIXELS):
        raise ColumnError(f"{field} outside 0 to {MAX_PIXELS - 1}")
    if pixels.dtype.kind == "f" and not (pixels == np.rint(pixels)).all():
        raise ColumnError(f"{field} with fractions")
    return pixels.astype(np.uint16)


def _polarity(signs: Column) -> npt.NDArray[np.bool_]:
    if signs.dtype.kind not in "biuf":
        raise ColumnError(f"p of type {signs.dtype}")
    if signs.dtype in (np.bool_, np.uint8):
        return signs.view(np.bool_)  # the check of every packet rejects bytes other than 0 and 1
    signs = np.ascontiguousarray(signs)
    if not ((signs == 1) | (signs == 0) | (signs == -1)).all():
        raise ColumnError("p that is neither 0/1 nor -1/+1")
    return signs > 0
