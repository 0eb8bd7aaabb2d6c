"""The canary: a number planted in raw events that may turn up nowhere outside the boundary."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pipeline_setup import BIN_US

from eventveil.events import EventPacket

CANARY = 31_847


SPELLINGS = (
    np.array([0, CANARY, 0], np.uint16).tobytes(),  # as it lies in a raw window; two bytes alone turn up by chance
    np.float32(CANARY).tobytes(),
    np.float64(CANARY).tobytes(),
    np.int64(CANARY).tobytes()[:4],
    str(CANARY).encode(),
)


def canary_events() -> Iterator[EventPacket]:
    """Half a second in which one pixel fires CANARY times a bin, ON and OFF in turn.

    A few other events keep the sums, which may be told, from being multiples of the canary.
    """
    events = CANARY + 1_111
    for start in range(0, 500_000, BIN_US):
        t = np.linspace(start, start + BIN_US - 1, events).astype(np.int64)
        place = np.where(np.arange(events) < CANARY, 20, 40)
        yield EventPacket.of(t, place, place, np.full(events, (start // BIN_US) % 2))


TEXT = re.compile(rb"(?<![0-9.])%d(?![0-9])" % CANARY)
"""The canary as a number in a text: the digits alone turn up by chance in the tail of any other number."""


def canary_in(data: bytes) -> bool:
    """Whether the canary is in some bytes, in any of its spellings."""
    return bool(TEXT.search(data)) or any(spelling in data for spelling in SPELLINGS[:-1])


def files_with_canary(folder: Path) -> list[Path]:
    """The files below a folder that hold it."""
    return [path for path in folder.rglob("*") if path.is_file() and canary_in(path.read_bytes())]
