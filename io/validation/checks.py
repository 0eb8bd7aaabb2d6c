"""The checks that every event must pass, whatever its format: time, geometry, polarity.

Readers decode; this module decides whether the result is valid. A valid packet costs one pass over its events, well
under a nanosecond per event; only an invalid one is inspected closely, to find the first event at fault.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit, types
from numpy.lib.stride_tricks import as_strided

from eventveil.events import EventPacket, Sensor
from eventveil.io.records import rest_from_time

# The subtraction in _records_pass borrows at these bits if x, y or p is too large.
_BORROWS = 1 << 16 | 1 << 32 | 1 << 40


class Fault(NamedTuple):
    """The first event of a packet that breaks a rule.

    Attributes:
        event: its index in the packet.
        rule: "time" goes back, or the event lies outside the "sensor", or its "polarity" is neither 0 nor 1.
        lost: how many events of the packet are left out because of it.
    """

    event: int
    rule: Literal["sensor", "polarity", "time"]
    lost: int = 0


def first_fault(packet: EventPacket, sensor: Sensor, floor_us: int, *, order: bool = True) -> Fault | None:
    """Return the first event that breaks a rule, or None.

    Args:
        packet: may be empty, with any strides and alignment.
        sensor: every x and y must lie on it.
        floor_us: no event may be earlier; usually the last time that passed.
        order: False if times may go back, because they will be repaired.

    Returns:
        The first event at fault; if it breaks several rules, sensor before polarity before time.
    """
    if len(packet) == 0 or _passes(packet, sensor, floor_us):
        return None
    faults = [
        _first((packet.x >= sensor.width) | (packet.y >= sensor.height), "sensor"),
        _first(packet.p.view(np.uint8) > 1, "polarity"),
        _first(mark_late(packet.t, floor_us), "time") if order else None,
    ]
    return min((fault for fault in faults if fault), key=lambda fault: fault.event, default=None)


def compile_checks() -> None:
    """Compile everything now, or load it from the cache: a camera does not wait for it later."""
    _strided_pass()


def mark_late(t: npt.NDArray[np.int64], floor_us: int) -> npt.NDArray[np.bool_]:
    """Mark the events that are earlier than `floor_us` or than an event before them: bool (n,)."""
    return t < np.maximum.accumulate(np.maximum(t, floor_us))


def _first(broken: npt.NDArray[np.bool_], rule: Literal["sensor", "polarity", "time"]) -> Fault | None:
    return Fault(int(broken.argmax()), rule) if broken.any() else None


def _passes(packet: EventPacket, sensor: Sensor, floor_us: int) -> bool:
    t, x, y, p = packet.t, packet.x, packet.y, packet.p.view(np.uint8)
    # Written out, because packets may hold few events: a loop over the fields would take longer than the kernel.
    contiguous = t.strides == (8,) and x.strides == (2,) and y.strides == (2,) and p.strides == (1,)
    plain = contiguous and t.flags.aligned and x.flags.aligned and y.flags.aligned
    passes = _columns_pass if plain else _strided_pass()
    return bool(passes(t, x, y, p, floor_us, sensor.width - 1, sensor.height - 1))


def _signature(layout: Literal["C", "A"], *, aligned: bool) -> Any:
    """Return a signature that covers read-only and writable arrays in one compilation."""
    kinds = types.int64, types.uint16, types.uint16, types.uint8
    fields = [types.Array(kind, 1, layout, readonly=True, aligned=aligned) for kind in kinds]
    return types.boolean(*fields, types.int64, types.int64, types.int64)


@njit(_signature("C", aligned=True), cache=True, nogil=True)
def _columns_pass(t, x, y, p, floor_us, right, bottom):  # type: ignore[no-untyped-def]
    back = t[0] < floor_us
    for i in range(1, len(t)):
        back |= t[i] < t[i - 1]
    widest, lowest, brightest = x[0], y[0], p[0]
    for i in range(len(t)):  # one short loop per field: each becomes vector instructions
        widest = max(widest, x[i])
    for i in range(len(t)):
        lowest = max(lowest, y[i])
    for i in range(len(t)):
        brightest = max(brightest, p[i])
    return not back and widest <= right and lowest <= bottom and brightest <= 1


@njit
def _records_pass(t, size, place, floor_us, right, bottom):  # type: ignore[no-untyped-def]
    """Read each record of `size` bytes as two words: the time, and all other fields, `place` bytes from the time.

    Subtracting x, y and p from their limits at once borrows from the field above the one that is too large.
    """
    words = as_strided(t, (len(t), 2), (size, place))
    shift = 24 if place > 0 else 0
    limits = right | bottom << 16 | 1 << 32
    back, borrows, last = False, 0, floor_us
    for i in range(len(t)):
        time = words[i, 0]
        back |= time < last
        last = time
        rest = words[i, 1] >> shift & 0xFF_FFFF_FFFF
        borrows |= limits - rest ^ limits ^ rest
    return not back and borrows & _BORROWS == 0


def _pass_strided(t, x, y, p, floor_us, right, bottom):  # type: ignore[no-untyped-def]
    place = rest_from_time(t, x, y, p)
    if place != 0 and t.strides[0] == 16:  # constant sizes, because they make a pass a third faster
        return _records_pass(t, 16, place, floor_us, right, bottom)
    if place != 0 and t.strides[0] == 13:
        return _records_pass(t, 13, place, floor_us, right, bottom)
    passes = t[0] >= floor_us
    for i in range(len(t)):
        passes &= x[i] <= right and y[i] <= bottom and p[i] <= 1 and (i == 0 or t[i] >= t[i - 1])
    return passes


@cache
def _strided_pass() -> Any:
    """Return `_pass_strided`, compiled when it is first needed."""
    return njit(_signature("A", aligned=False), cache=True, nogil=True)(_pass_strided)
