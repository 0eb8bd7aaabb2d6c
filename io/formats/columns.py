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
UNIT_NAMES = {
    **{name: unit for unit in UNITS for name in (unit, f"{unit}ec", f"{unit}ecs")},
    **dict.fromkeys(("\xb5s", "\u03bcs", "microsecond", "microseconds"), "us"),
    **dict.fromkeys(("millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("second", "seconds"), "s"),
    **dict.fromkeys(("nanosecond", "nanoseconds"), "ns"),
}
WITH_UNIT = re.compile(r"(.+?)[\s_]*[(\[](.*)[)\]]|(.+)_([un]s|ms|s)")  # time (us), t [ms], t_ns
YEAR_2100_US = 4_102_444_800_000_000
EXACT_FLOAT16 = 2**11
MIN_TIMES = 64  # different ones, before a pattern in them counts
TRIED = 100  # rows at the start of a table
STATE_UNIT = (
    "state the unit of time after the name, as in ?unit=ms (us, ms, s, ns or a number of microseconds such as 100us)"
)
STATE_COLUMNS = "state it after the name, as in ?columns=t,x,y,p&unit=us"

Column = npt.NDArray[Any]


class ColumnError(ValueError):
    """The columns do not hold events. The message quotes no values, because it is logged."""


class CoarseTimesError(ColumnError):
    """The times were rounded before they were stored."""


def split_remedy(message: str, otherwise: str) -> tuple[str, str]:
    """Split the message of a `ColumnError` into what was found and what to do, which is `otherwise` if it says nothing.

    >>> split_remedy("times in seconds; state the unit", otherwise="check the file")
    ('times in seconds', 'state the unit')
    """
    found, _, remedy = message.partition("; ")
    return found, remedy or otherwise


def find_fields(names: Sequence[str]) -> dict[str, int]:
    """Return the positions of t, x, y and p among column names, in any usual spelling; ignore other columns.

    Raises:
        ColumnError: one of the four is missing or appears twice.
    """
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        field = NAMES.get(split_name(name)[0])
        if field in places:
            raise ColumnError(f"two columns for {field}")
        if field is not None:
            places[field] = place
    missing = [field for field in FIELDS if field not in places]
    if missing:
        raise ColumnError(f"no column for {', '.join(missing)}")
    return places


def find_unit(names: Sequence[str], stated: str | None) -> Fraction | None:
    """Return the unit of time in microseconds, as stated by the user or by a column name such as `time (us)`; or None.

    Raises:
        ColumnError: a unit is unknown, or the two differ.
    """
    stated_unit = None if stated is None else parse_unit(stated)
    for name in names:
        base, unit = split_name(name)
        if NAMES.get(base) != "t" or unit is None:
            continue
        if unit not in UNIT_NAMES:
            raise ColumnError("a column of times whose name states an unknown unit; rename it t, and state ?unit=")
        named = UNITS[UNIT_NAMES[unit]]
        if stated_unit not in (None, named):
            raise ColumnError(f"times in {UNIT_NAMES[unit]} by the name of their column, but ?unit={stated} was stated")
        return named
    return stated_unit


def split_name(name: str) -> tuple[str, str | None]:
    """Split a column name such as `"Time (us)"` into its base, in lower case, and its unit, if it has one."""
    plain = name.strip().strip("\"'").strip().lower()
    match = None if plain in NAMES else WITH_UNIT.fullmatch(plain)
    if match is None:
        return plain, None
    return (match[1], match[2].strip()) if match[1] is not None else (match[3], match[4])


def parse_unit(text: str) -> Fraction:
    """Parse a unit of time (us, ms, s, ns or a number of microseconds such as 100us); return it in microseconds.

    Raises:
        ColumnError: it is none of these.
    """
    if text in UNITS:
        return UNITS[text]
    match = re.fullmatch(r"([1-9]\d{0,8})us", text)
    if match is None:
        raise ColumnError(f"the unit {text!r}, not {', '.join(UNITS)} or a number of microseconds such as 100us")
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


def check_first_rows(columns: Mapping[str, Column], unit: Fraction | None = None) -> None:
    """Refuse a table in which most of the first rows are not events; single ones are reported later. As `to_packet`.

    Raises:
        ColumnError: it is such a table: its columns are others, or their unit or type is.
    """
    tried = min(len(columns["t"]), TRIED)
    faults = []
    for row in range(tried):
        try:
            to_packet({field: column[row : row + 1] for field, column in columns.items()}, unit)
        except ColumnError as fault:
            faults.append(fault)
    if 2 * len(faults) > tried:
        raise faults[0]
    try:
        to_packet(columns, unit)
    except CoarseTimesError:
        raise
    except ColumnError:
        return  # of single rows; reported with their packet


def to_microseconds(times: Column, unit: Fraction | None = None) -> npt.NDArray[np.int64]:
    """Convert times in any unit to whole microseconds, rounded; without a copy if they are int64 microseconds.

    Raises:
        ColumnError: they are not numbers, or too coarse or too large for exact microseconds; or they need a stated
            unit, because they have fractions or lie beyond the year 2100 as microseconds.
    """
    factor = UNITS["us"] if unit is None else unit
    if times.dtype.kind == "f":
        t = _from_floats(times, factor, stated=unit is not None)
    elif times.dtype.kind not in "iu":
        raise ColumnError(f"times of type {times.dtype}")
    elif factor == 1 and times.dtype == np.int64:
        t = times
    else:
        t = _from_integers(times, factor)
    if unit is None:
        check_date(t)
    return t


def check_date(t: npt.NDArray[np.int64]) -> None:
    """Refuse times that no unit explains and that microseconds since 1970 do not: nanoseconds since 1970, usually.

    Raises:
        ColumnError: a time lies beyond the year 2100.
    """
    if len(t) and max(int(t[0]), int(t[-1])) >= YEAR_2100_US:
        raise ColumnError(f"times beyond the year 2100 as microseconds, perhaps nanoseconds; {STATE_UNIT}")


def check_resolution(t: npt.NDArray[np.int64], factor: Fraction) -> None:
    """Refuse times that were rounded to float32 before they were stored with more digits.

    Args:
        t: the times in microseconds.
        factor: microseconds per unit in which they were stored.

    Raises:
        CoarseTimesError: all of at least 64 different times are multiples of float32's steps of 2 us or more. By chance
            that happens to fewer than one in 2^59 recordings. Multiples of more are the steps of a clock.
    """
    values = t / float(factor)
    rounded = values.astype(np.float32)
    steps_us = np.abs(np.spacing(rounded)) * float(factor)
    coarse = steps_us > 1.5
    if not coarse.any():
        return
    t, values, rounded, steps_us = t[coarse], values[coarse], rounded[coarse], steps_us[coarse]
    tolerance_us = np.where(steps_us >= 7, 1.0, 0.5 + 1e-6)  # more if last digits were cut off, not rounded
    on_grid = np.abs(rounded.astype(np.float64) - values) * float(factor) <= tolerance_us
    is_clock = np.gcd.reduce(t) > steps_us.max()
    if on_grid.all() and not is_clock and len(np.unique(t)) >= MIN_TIMES:
        raise CoarseTimesError(
            "times that were rounded to float32, which cannot hold microseconds; export them as float64"
        )


def _from_floats(times: Column, factor: Fraction, *, stated: bool) -> npt.NDArray[np.int64]:
    whole = bool((times == np.rint(times)).all())
    if not stated and not whole:
        raise ColumnError(f"times with fractions, and no unit; {STATE_UNIT}")
    exact = 2.0 ** min(np.finfo(times.dtype).nmant + 1, 53)  # the integers up to here are exact
    with np.errstate(over="ignore"):  # infinity is rejected below
        values = times.astype(np.float64)
        scaled = np.rint(values * factor.numerator / factor.denominator)
    if not ((np.abs(scaled) <= exact).all() or (whole and (np.abs(values) <= exact).all())):
        raise ColumnError(
            f"times that are not numbers, or too large to be exact in {times.dtype}; export them as int64 or float64"
        )
    if not (np.abs(scaled) < 2.0**63).all():
        raise ColumnError("times too large for 64 bits")
    t = scaled.astype(np.int64)
    if times.dtype == np.float64 and not whole:
        check_resolution(t, factor)
    return t


def _from_integers(times: Column, factor: Fraction) -> npt.NDArray[np.int64]:
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
    if pixels.dtype == np.float16 and pixels.max() > EXACT_FLOAT16:
        raise ColumnError(f"{field} of type float16, which is not exact beyond {EXACT_FLOAT16}")
    if pixels.dtype == np.float16:
        pixels = pixels.astype(np.float32)  # float16 has no MAX_PIXELS
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
