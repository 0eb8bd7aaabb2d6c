"""Bits of a mask, for kernels.

Formats that pack neighbouring pixels into a mask are read by jumping from one set bit to the next: one machine
instruction each, about five times as fast as looking at every bit.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit
from numba.extending import intrinsic, overload


def lowest_bit(mask: int) -> int:
    """Index of the lowest set bit of a mask, which must not be 0."""
    return (mask & -mask).bit_length() - 1


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def _count_trailing_zeros(typing_context: Any, mask: Any) -> Any:  # noqa: ARG001 - numba hands over both
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return mask(mask), generate


@overload(lowest_bit, inline="always")
def _compiled_lowest_bit(mask):  # type: ignore[no-untyped-def]  # noqa: ARG001 - numba compares the signatures
    return lambda mask: _count_trailing_zeros(mask)


@njit(cache=True, nogil=True)
def count_bits(mask: int) -> int:
    """How many of the lower 32 bits of a mask are set (the others must be 0).

    Source: the tree of sums of H. S. Warren, "Hacker's Delight", section 5-1; compilers know it by heart.
    """
    mask = mask - ((mask >> 1) & 0x55555555)
    mask = (mask & 0x33333333) + ((mask >> 2) & 0x33333333)
    mask = (mask + (mask >> 4)) & 0x0F0F0F0F
    return ((mask * 0x01010101) >> 24) & 0xFF
