"""Records of events, as AEDAT4 packets and structured arrays have them, read as whole 64-bit words.

Fields that lie some bytes apart are loaded one by one; the two words of a record, time and all the rest, are loaded
at once, and in records of 16 bytes several at a time by vector instructions. That makes a pass over the events up to
two to three times as fast.

Compiled kernels are kept on disk, as `io/formats/bitmask.py` tells: `make test` makes them anew where a source has
changed.
"""

from __future__ import annotations

from numba import njit
from numpy.lib.stride_tricks import as_strided


@njit
def rest_from_time(t, x, y, p):  # type: ignore[no-untyped-def]
    """Where in a record, in bytes from its time, a word holds x, y and p and else only bytes of the time; or 0.

    5 where x, y and p stand behind the time: the upper five bytes of the word. -5 where they stand before it: the
    lower five. 0 where the fields lie otherwise. x and y are uint16, p is uint8.
    """
    start = x.ctypes.data
    together = y.ctypes.data == start + 2 and p.ctypes.data == start + 4
    if together and t.strides[0] == x.strides[0] == y.strides[0] == p.strides[0]:
        if start == t.ctypes.data + 8:
            return 5
        if start + 5 == t.ctypes.data:
            return -5
    return 0


@njit
def are_records(t, x, y, p):  # type: ignore[no-untyped-def]
    """Whether the fields lie in records of 16 bytes: t int64, x and y uint16, p uint8, 3 bytes to spare."""
    return rest_from_time(t, x, y, p) == 5 and t.strides[0] == 16


@njit
def as_words(t):  # type: ignore[no-untyped-def]
    """The records whose times are `t` as int64 (n, 2): the time; x, y << 16, p << 32 and 3 bytes of anything."""
    return as_strided(t, (len(t), 2), (16, 8))
