"""Expand masks of neighbouring pixels into events: the common part of the EVT2.1 and EVT3 kernels.

Jumping from one set bit to the next takes one machine instruction, about a fifth of the time of testing every bit. The
largest remaining cost is that the processor cannot predict how many bits the next mask has. So events are written in
groups, and the next mask overwrites the surplus ones: this made both formats a third to a half faster on sparse
streams. The best group size depends on how many bits the masks of a format usually have.

numba caches compiled kernels on disk and checks only whether their own file has changed, not the files of the functions
they call. `make` deletes the cache when a source file has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.extending import intrinsic, overload

# Unsigned, because every nanosecond counts here: numba tests a signed index each time it is used, since it could be
# negative and mean "from the end". That test takes a fifth of the time of EVT3.
ZERO, ONE = np.uint64(0), np.uint64(1)


def lowest_bit(mask: int) -> int:
    """Return the index of the lowest set bit of a mask, or 64 if none is set."""
    return (mask & -mask).bit_length() - 1 if mask else 64


def count_bits(mask: int) -> int:
    """Return the number of set bits of a non-negative mask."""
    return mask.bit_count()


def _instruction(build: Callable[[Any, Any], Any]) -> Any:
    """Return a function that compiles to one instruction on a 64-bit integer."""

    def typed(typing_context: Any, mask: Any) -> Any:  # noqa: ARG001 - numba passes both
        return mask(mask), lambda context, builder, signature, args: build(builder, args[0])  # noqa: ARG005  # pragma: no cover - compiled

    return intrinsic(typed)


_count_trailing_zeros = _instruction(lambda builder, mask: builder.cttz(mask, ir.Constant(ir.IntType(1), 0)))
_count_ones = _instruction(lambda builder, mask: builder.ctpop(mask))


@overload(lowest_bit)
def _compiled_lowest_bit(mask):  # type: ignore[no-untyped-def]  # noqa: ARG001 - numba compares the signatures
    return lambda mask: _count_trailing_zeros(mask)  # pragma: no cover - compiled


@overload(count_bits)
def _compiled_count_bits(mask):  # type: ignore[no-untyped-def]  # noqa: ARG001
    return lambda mask: _count_ones(mask)  # pragma: no cover - compiled


def make_mask_expander(group: int) -> Any:
    """Make the kernel that writes an event for each set bit of a mask, `group` at a time.

    Its arguments are the mask, whose bit k stands for column `column + k`; the position of the first event, unsigned;
    the common values of the events; and the columns t, x, y, p, with room for `group` events more than the mask has
    bits: the surplus values are undefined. It returns the position after the last event, unsigned.
    """

    @njit(nogil=True)
    def expand(mask, n, time, column, row, on, t, x, y, p):  # type: ignore[no-untyped-def]
        end = n + np.uint64(count_bits(mask))
        while n < end:
            for k in range(group):
                at = n + np.uint64(k)
                t[at], x[at], y[at], p[at] = time, column + lowest_bit(mask), row, on
                mask &= mask - 1
            n += np.uint64(group)
        return end

    return expand
