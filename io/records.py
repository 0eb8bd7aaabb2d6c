"""Read event records, as in AEDAT4 packets and structured arrays, as whole 64-bit words.

Separate fields are loaded one by one. The two words of a record, its time and everything else, are loaded at once, and
for records of 16 bytes vector instructions load several at a time. That makes a pass over the events up to two to three
times as fast.

Compiled kernels are cached on disk (see `io/formats/bitmask.py`): `make test` recompiles them after a source file has
changed.
"""

from __future__ import annotations

from numba import njit
from numpy.lib.stride_tricks import as_strided


@njit
def rest_from_time(t, x, y, p):  # type: ignore[no-untyped-def]
    """Return where a word begins, in bytes from the time, that holds x, y and p and otherwise only time bytes; or 0.

    5 if x, y and p follow the time: they are the upper five bytes of the word. -5 if they precede it: the lower five.
    0 for any other layout. x and y are uint16, p is uint8.
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
    """Return whether the fields form records of 16 bytes: t int64, x and y uint16, p uint8, 3 bytes of padding."""
    return rest_from_time(t, x, y, p) == 5 and t.strides[0] == 16


@njit
def as_words(t):  # type: ignore[no-untyped-def]
    """View the records whose times are `t` as int64 (n, 2): the time; x | y << 16 | p << 32 and 3 undefined bytes."""
    return as_strided(t, (len(t), 2), (16, 8))
