"""The one check that every event passes on its way in, whatever its format: time, geometry, polarity.

Readers decode; this decides whether what they decoded may be believed. A packet that passes costs one pass over it,
well under a nanosecond per event; only one that fails is looked at closely, to find the first event at fault.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit, types
from numpy.lib.stride_tricks import as_strided

from eventveil.events import EventPacket, Sensor
from eventveil.records import rest_from_time

# What is taken off in _records_pass leaves a trace in these bits, where x, y or p is too large.
_BORROWS = 1 << 16 | 1 << 32 | 1 << 40


class Fault(NamedTuple):
    """The first event of a packet that breaks a rule.

    Attributes:
        event: its number in the packet.
        rule: "time" goes back, or the event lies outside the "sensor", or its "polarity" is neither 0 nor 1.
        lost: how many events of the packet are kept out because of it.
    """

    event: int
    rule: Literal["sensor", "polarity", "time"]
    lost: int = 0


def first_fault(packet: EventPacket, sensor: Sensor, floor_us: int, *, order: bool = True) -> Fault | None:
    """Find the first event that breaks a rule, or None.

    Args:
        packet: may be empty, and of any strides and alignment.
        sensor: every x and y must lie on it.
        floor_us: no event may be earlier, as a rule the last time that was let through.
        order: False where times may go back, because they will be put in order.

    Returns:
        The first event at fault; where it breaks several rules, sensor before polarity before time.
    """
    if len(packet) == 0 or _passes(packet, sensor, floor_us):
        return None
    faults = [
        _first((packet.x >= sensor.width) | (packet.y >= sensor.height), "sensor"),
        _first(packet.p.view(np.uint8) > 1, "polarity"),
        _first(earlier(packet.t, floor_us), "time") if order else None,
    ]
    return min((fault for fault in faults if fault), key=lambda fault: fault.event, default=None)


def earlier(t: npt.NDArray[np.int64], floor_us: int) -> npt.NDArray[np.bool_]:
    """Mark the events whose time lies below `floor_us` or below that of an event before them: bool (n,)."""
    return t < np.maximum.accumulate(np.maximum(t, floor_us))


def _first(broken: npt.NDArray[np.bool_], rule: Literal["sensor", "polarity", "time"]) -> Fault | None:
    return Fault(int(broken.argmax()), rule) if broken.any() else None


def _passes(packet: EventPacket, sensor: Sensor, floor_us: int) -> bool:
    t, x, y, p = packet.t, packet.x, packet.y, packet.p.view(np.uint8)
    # Packets may hold few events: spelt out, because a loop over the fields would take longer than the kernel.
    whole = t.strides == (8,) and x.strides == (2,) and y.strides == (2,) and p.strides == (1,)
    plain = whole and t.flags.aligned and x.flags.aligned and y.flags.aligned
    passes = _columns_pass if plain else _strided_pass
    return bool(passes(t, x, y, p, floor_us, sensor.width - 1, sensor.height - 1))


def _signature(layout: Literal["C", "A"], *, aligned: bool) -> Any:
    """One compilation serves read-only arrays and others, and it happens (or is loaded) at import."""
    kinds = types.int64, types.uint16, types.uint16, types.uint8
    fields = [types.Array(kind, 1, layout, readonly=True, aligned=aligned) for kind in kinds]
    return types.boolean(*fields, types.int64, types.int64, types.int64)


@njit(_signature("C", aligned=True), cache=True, nogil=True)
def _columns_pass(t, x, y, p, floor_us, right, bottom):  # type: ignore[no-untyped-def]
    back = t[0] < floor_us
    for i in range(1, len(t)):
        back |= t[i] < t[i - 1]
    widest, lowest, brightest = x[0], y[0], p[0]
    for i in range(len(t)):  # one short loop a field: each becomes vector instructions
        widest = max(widest, x[i])
    for i in range(len(t)):
        lowest = max(lowest, y[i])
    for i in range(len(t)):
        brightest = max(brightest, p[i])
    return not back and widest <= right and lowest <= bottom and brightest <= 1


@njit
def _records_pass(t, size, place, floor_us, right, bottom):  # type: ignore[no-untyped-def]
    """Read each record of `size` bytes as two words, time and all the rest, which stands at `place` from it.

    Taking x, y and p off their limits at once borrows from the field above the one that is too large.
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


@njit(_signature("A", aligned=False), cache=True, nogil=True)
def _strided_pass(t, x, y, p, floor_us, right, bottom):  # type: ignore[no-untyped-def]
    place = rest_from_time(t, x, y, p)
    if place != 0 and t.strides[0] == 16:  # the sizes are spelt out, because known ones make a pass a third faster
        return _records_pass(t, 16, place, floor_us, right, bottom)
    if place != 0 and t.strides[0] == 13:
        return _records_pass(t, 13, place, floor_us, right, bottom)
    passes = t[0] >= floor_us
    for i in range(len(t)):
        passes &= x[i] <= right and y[i] <= bottom and p[i] <= 1 and (i == 0 or t[i] >= t[i - 1])
    return passes
