"""A mask of neighbouring pixels becomes events: what the kernels of EVT2.1 and EVT3 share.

Jumping from one set bit to the next takes one machine instruction, about a fifth of the time that looking at every
bit takes. What then costs most is that the processor cannot foresee how many bits the next mask has. So events are
written in groups, and those too many are written over by the next mask: on sparse streams both formats became a third
to a half faster so. How large a group does best depends on how many bits the masks of a format usually have.

numba keeps compiled kernels on disk and asks only whether their own file has changed, not those of the functions they
call. `make` deletes what it kept where a source has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.extending import intrinsic, overload

# Positions are counted in these where every nanosecond shows: numba looks at a signed one each time it is used, for
# it could be negative and mean "from the end". That look is a fifth of the time that EVT3 takes.
ZERO, ONE = np.uint64(0), np.uint64(1)


def lowest_bit(mask: int) -> int:
    """Index of the lowest set bit of a mask, or 64 where none is set."""
    return (mask & -mask).bit_length() - 1 if mask else 64


def count_bits(mask: int) -> int:
    """How many bits of a mask, which must not be negative, are set."""
    return mask.bit_count()


def _instruction(build: Callable[[Any, Any], Any]) -> Any:
    """A function of compiled code that is one instruction on a 64-bit integer."""

    def typed(typing_context: Any, mask: Any) -> Any:  # noqa: ARG001 - numba hands over both
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


def spreader(group: int) -> Any:
    """Make the kernel that writes an event for each bit of a mask, `group` at a time.

    Its arguments are the mask, whose bit k stands for column `column + k`; the position of the first event, unsigned;
    what the events have in common; and the columns t, x, y, p, with room for `group` events more than the mask has:
    what is written there means nothing. It returns the position behind the last event, unsigned.
    """

    @njit(nogil=True)
    def spread(mask, n, time, column, row, on, t, x, y, p):  # type: ignore[no-untyped-def]
        end = n + np.uint64(count_bits(mask))
        while n < end:
            for k in range(group):
                at = n + np.uint64(k)
                t[at], x[at], y[at], p[at] = time, column + lowest_bit(mask), row, on
                mask &= mask - 1
            n += np.uint64(group)
        return end

    return spread
