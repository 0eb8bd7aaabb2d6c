"""Random numbers and a sine that are the same on every machine: drawn from names, and made of exact arithmetic only.

The last bits of `sin`, `exp` and of NumPy's normal deviates differ between machines and versions. Addition,
multiplication, division and the square root do not (IEEE 754), nor does a hash. The simulated camera uses only these.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")
Floats = npt.NDArray[np.float64]


class PortableRandom:
    """Random numbers seeded by a name, as in `PortableRandom(seed, "person", 3)`: equal names give equal draws."""

    def __init__(self, *name: Any) -> None:
        self._name = "/".join(map(str, name))
        self._draws = 0

    def bits(self) -> int:
        """Return the next 53 random bits."""
        self._draws += 1
        digest = hashlib.blake2b(f"{self._name}#{self._draws}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") >> 11

    def uniform(self, low: float, high: float) -> float:
        """Return a number from `low` (included) to `high`."""
        return low + (high - low) * (self.bits() / 2**53)

    def pick(self, choices: Sequence[T]) -> T:
        """Return one of the choices."""
        return choices[self.bits() * len(choices) >> 53]


def sine(turns: Floats) -> Floats:
    """Sine of an angle in whole turns, to within 0.002: enough for motion.

    Source: the rational approximation of Bhaskara I (7th century).
    """
    part = turns - np.floor(turns)
    half = np.where(part < 0.5, part, part - 0.5) * 2
    hump = half * (1 - half)
    height: Floats = 16 * hump / (5 - 4 * hump)
    return np.where(part < 0.5, height, -height)
