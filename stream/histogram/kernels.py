"""Kernels over the fields of a packet, compiled before the first event comes: for arrays in one piece and for views.

A reader may hand over strided views of its records; loops over arrays in one piece are faster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit
from numba import types as numba_types

types: Any = numba_types  # numba's own annotations change from version to version


def event_columns(layout: str) -> tuple[Any, ...]:
    """Numba's types of t, x, y and p in the memory layout "C" (contiguous) or "A" (any strides).

    Read-only and unaligned is what every array may be taken for, whoever made it; so one compilation, done before
    the first event comes, serves all.
    """
    fields = (types.int64, types.uint16, types.uint16, types.uint8)
    return tuple(types.Array(field, 1, layout, readonly=True, aligned=False) for field in fields)


class ByLayout:
    """A kernel, compiled for both layouts.

    Args:
        kernel: its first arguments are fields of a packet.
        fields: how many: 3 are t, x, y, and 4 also p, as uint8.
        returns: numba's type of what it returns.
        others: those of its other arguments.
    """

    def __init__(self, kernel: Callable[..., Any], fields: int, returns: Any, *others: Any) -> None:
        self._fields = fields
        self._contiguous, self._strided = (
            njit(returns(*event_columns(layout)[:fields], *others), nogil=True, cache=True)(kernel) for layout in "CA"
        )

    def __call__(self, *arguments: Any) -> Any:
        """Run it."""
        contiguous = all(field.flags.c_contiguous for field in arguments[: self._fields])
        return (self._contiguous if contiguous else self._strided)(*arguments)
