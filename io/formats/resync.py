"""Find the next packet after a damaged one, by testing every position in a block of bytes at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BLOCK = 1 << 20  # bytes to search at a time


def is_zero(data: bytes) -> bool:
    """Return whether a block is all zeros, which hold no packet: a disk that lost power leaves gigabytes of them."""
    return not np.frombuffer(data, np.uint8).any()


def uint32_at_each_byte(data: bytes) -> npt.NDArray[np.uint32]:
    """Return the little-endian 32-bit word that begins at each byte: (len(data) - 3,), or none."""
    octets = np.frombuffer(data, np.uint8).astype(np.uint32)
    if len(octets) < 4:
        return octets[:0]
    words = octets[:-3] | octets[1:-2] << 8 | octets[2:-1] << 16 | octets[3:] << 24
    return words.astype(np.uint32, copy=False)
