"""The canary: counts planted in raw events that may turn up nowhere outside the boundary.

Four neighbouring cells of a window count `CANARY` and three smaller numbers in every bin. Whatever leaves is searched
for them, in each spelling that raw data could take. Other bytes that leave are random (ciphertext, noise), so each
spelling must be too long to turn up by chance. The false-alarm probabilities below are for one search of 16 MiB of
random bytes, more than any test lets pass: `positions * 2 ** (-8 * bytes)`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pipeline_setup import BIN_US

from eventveil.events import EventPacket

CANARY = 62_701  # no process number of a small system (below 32,768) and no ephemeral port of Linux (below 61,000)
COUNTS = np.array([CANARY, 301, 517, 773])  # neither byte of any of them is zero
BINARY_SPELLINGS = (
    COUNTS.astype(np.uint16).tobytes(),  # a raw window; 8 bytes: 2^24 * 2^-64 = 1e-12
    np.array([0, CANARY], np.float32).tobytes(),  # raw values as networks take them; 8 bytes: 1e-12
    np.array([0, CANARY], np.float64).tobytes(),  # 16 bytes: 5e-32
    np.array([0, CANARY], np.int64).tobytes(),  # 16 bytes: 5e-32
)
TEXT_SPELLING = re.compile(rb"(?<![0-9a-f.])%d(?![0-9a-f])" % CANARY)
"""A whole number in a text, not the digits inside another one, nor inside a hexadecimal one: one of 90,000 random run
identities holds them. In random bytes 5 bytes: 2^24 * 2^-40 = 2e-5. Of the numbers in texts, only counts, ages and
process numbers come near it: below 1e-5 a run."""


def canary_events(bin_us: int = BIN_US) -> Iterator[EventPacket]:
    """Yield half a second in which four cells count `COUNTS` in each bin of this length, ON and OFF in turn.

    The cells are neighbours in windows of half the sensor's size. A few other events keep sums, which may be published,
    from being sums of the canary.
    """
    x = np.concatenate([np.repeat([20, 22, 24, 26], COUNTS), np.full(1_111, 40)])
    y = np.where(x == 40, 40, 20)
    for start in range(0, 500_000, bin_us):
        t = np.linspace(start, start + bin_us - 1, len(x)).astype(np.int64)
        yield EventPacket.of(t, x, y, np.full(len(x), (start // bin_us) % 2))


def canary_in(data: bytes) -> bool:
    """Return whether some bytes contain the canary, in any spelling."""
    return bool(TEXT_SPELLING.search(data)) or any(spelling in data for spelling in BINARY_SPELLINGS)


def files_with_canary(folder: Path) -> list[Path]:
    """Return the files below a folder that hold the canary."""
    return [path for path in folder.rglob("*") if path.is_file() and canary_in(path.read_bytes())]
