"""Carry a clock of few bits on across its wraps, and leave out readings that a damaged bit has set.

A clock wraps from near its top to near zero, by a small step. One damaged bit sets a reading far ahead or back, and the
next one returns. Taken for a wrap, such a pair shifts everything after it, by an hour in formats of 32 bits. So a
reading that is far from the one before it counts only if later ones confirm it: if time goes on from there. One from
which time returns is left out. A clock that was set back, and stays there, is passed on as it is: that is handled after
the readers, for all formats.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

CONFIRMATIONS = 8  # later readings that confirm a jump; at the end of a recording one is enough
UNKNOWN = -(1 << 63)  # the time before the first reading
LEFT_OUT = UNKNOWN + 1  # the time of a reading that was left out
_CONFIRMED, _OUTLIER, _UNDECIDED = 0, 1, 2


class Limits(NamedTuple):
    """What a clock does by itself, in its own ticks.

    Attributes:
        span: how many ticks it takes to wrap.
        near: steps up to here, ahead or back, need no confirmation.
        wrap: the longest step ahead that may wrap.
        last: the longest step ahead from a single reading at the start, or to one at the end, which nothing confirms.
    """

    span: int
    near: int
    wrap: int
    last: int


class State(NamedTuple):
    """Where a clock stands."""

    base: int  # ticks before the last wrap
    last: int  # the last reading that counted, in ticks since the origin; UNKNOWN before the first


@njit(cache=True, nogil=True)
def _place(reading: int, state: State, limits: Limits) -> int:
    """Return the ticks of a reading, assuming that it follows the state's last one."""
    ticks = state.base + reading
    if state.last == UNKNOWN:
        return ticks
    if ticks - state.last <= limits.wrap - limits.span:
        return ticks + limits.span
    if ticks - state.last >= limits.span - limits.near and state.base > 0:
        return ticks - limits.span  # a little late, from before the wrap
    return ticks


@njit(cache=True, nogil=True)
def _is_alone(readings, at: int, first: State, limits: Limits) -> bool:  # type: ignore[no-untyped-def]
    """Return whether the first reading of a recording is followed by a long silence, and the second one is not."""
    if at + 2 >= len(readings):
        return False
    second = _place(readings[at + 1], first, limits)
    third = _place(readings[at + 2], State(second - readings[at + 1], second), limits)
    return second - first.last > limits.last and abs(third - second) <= limits.last


@njit(cache=True, nogil=True)
def _judge(readings, at: int, state: State, limits: Limits, final: bool) -> tuple[int, int]:  # type: ignore[no-untyped-def]
    """Decide about a reading that is far from the one before it, by those that follow.

    Returns:
        The verdict, and for an outlier where the readings go on that do count.
    """
    ticks = _place(readings[at], state, limits)
    started, ahead = state.last != UNKNOWN, ticks > state.last
    before = run = State(ticks - readings[at], ticks)  # the run of readings that begins here; `before` its last one
    if not started and _is_alone(readings, at, run, limits):
        return _OUTLIER, at + 1
    confirmations = 0
    for place in range(at + 1, len(readings)):
        if started:
            returned = _place(readings[place], state, limits)
            spike = state.last < returned < run.last - limits.near if ahead else returned > state.last
            if abs(returned - state.last) <= limits.near or spike:
                return _OUTLIER, place
        now = _place(readings[place], run, limits)
        if now < run.last - limits.near:  # back again: the last of the run was an outlier itself, or all of it is
            now = _place(readings[place], before, limits)
            if run.last == before.last or now < before.last - limits.near:
                if not started:  # the first run may go on after it: then it is an outlier itself
                    if place + 1 < len(readings):
                        goes_on = _place(readings[place + 1], run, limits) >= run.last - limits.near
                    elif final:
                        goes_on = confirmations > 0
                    else:
                        return _UNDECIDED, at
                    if goes_on:
                        continue
                return _OUTLIER, place
            run = State(now - readings[place], now)
            continue
        before, run = run, State(now - readings[place], now)
        confirmations += 1
        if confirmations == CONFIRMATIONS:
            return _CONFIRMED, at
    if not final:
        return _UNDECIDED, at
    if confirmations or not started or 0 < ticks - state.last <= limits.last:
        return _CONFIRMED, at
    return _OUTLIER, len(readings)


@njit(cache=True, nogil=True)
def follow_readings(  # type: ignore[no-untyped-def]
    readings, state: State, limits: Limits, final: bool, times, stop: int
) -> tuple[int, State]:
    """Fill `times` with ticks, or LEFT_OUT, for the first `stop` readings, which the others may confirm.

    Returns:
        How many readings were decided, and the state after them.
    """
    at = 0
    while at < stop:
        ticks = _place(readings[at], state, limits)
        if state.last == UNKNOWN or abs(ticks - state.last) > limits.near:
            verdict, after = _judge(readings, at, state, limits, final)
            if verdict == _UNDECIDED:
                break
            if verdict == _OUTLIER:
                times[at:after] = LEFT_OUT
                at = min(after, stop)
                continue
        times[at] = ticks
        state = State(ticks - readings[at], ticks)
        at += 1
    return at, state


class Clock:
    """A clock that wraps.

    Args:
        bits: its width.
        tick_us: microseconds per tick.
        near_us: steps up to here, ahead or back, need no confirmation.
        origin_us: the time at which it was zero.
    """

    WRAP_US = 60_000_000  # the longest silence around a wrap, if a minute is less than half the clock's range

    def __init__(self, bits: int, tick_us: int, near_us: int, origin_us: int = 0) -> None:
        span = 1 << bits
        wrap = min(span // 2, self.WRAP_US // tick_us)
        self._limits = Limits(span, max(1, near_us // tick_us), wrap, max(1, self.WRAP_US // tick_us))
        self._state = State(0, UNKNOWN)
        self._tick_us = tick_us
        self._origin_us = origin_us

    @property
    def started(self) -> bool:
        """Whether a reading has counted."""
        return self._state.last != UNKNOWN

    def follow(self, readings: npt.NDArray[Any], *, final: bool) -> tuple[npt.NDArray[np.int64], int]:
        """Convert the next readings to times.

        Args:
            readings: int64 (n,), each below 2 ** bits.
            final: whether they are the last ones, so that all must be decided.

        Returns:
            Microseconds, or LEFT_OUT, for as many readings as could be decided: pass the others again, with more.
        """
        ticks = np.empty(len(readings), np.int64)
        decided, self._state = follow_readings(readings, self._state, self._limits, final, ticks, len(readings))
        ticks = ticks[:decided]
        if self._tick_us == 1 and self._origin_us == 0:
            return ticks, decided
        return np.where(ticks == LEFT_OUT, LEFT_OUT, ticks * self._tick_us + self._origin_us), decided


@njit(cache=True, nogil=True)
def find_words(words, shift: int, kind: int, places) -> int:  # type: ignore[no-untyped-def]
    """Fill in the places of the words with this type in the four bits from `shift` on; return their number."""
    n = 0
    for i in range(words.size):
        places[n] = i
        n += (int(words[i]) >> shift) & 0xF == kind
    return n
