"""Kernels over the fields of a packet, compiled before the first event arrives: for contiguous arrays and for views.

A reader may pass strided views of its records; loops over contiguous arrays are faster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit
from numba import types as numba_types

types: Any = numba_types  # numba's annotations change from version to version


def event_columns(layout: str) -> tuple[Any, ...]:
    """Return Numba's types of t, x, y and p in the memory layout "C" (contiguous) or "A" (any strides).

    Every array may be treated as read-only and unaligned, so one compilation per layout, done before the first event
    arrives, serves all arrays.
    """
    fields = (types.int64, types.uint16, types.uint16, types.uint8)
    return tuple(types.Array(field, 1, layout, readonly=True, aligned=False) for field in fields)


class ByLayout:
    """A kernel compiled for both memory layouts.

    Args:
        kernel: function whose first arguments are fields of a packet.
        fields: number of these: 3 for t, x, y; 4 for t, x, y, p, with p as uint8.
        returns: Numba's type of the result.
        others: Numba's types of the other arguments.
    """

    def __init__(self, kernel: Callable[..., Any], fields: int, returns: Any, *others: Any) -> None:
        self._fields = fields
        self._contiguous, self._strided = (
            njit(returns(*event_columns(layout)[:fields], *others), nogil=True, cache=True)(kernel) for layout in "CA"
        )

    def __call__(self, *arguments: Any) -> Any:
        """Call the kernel compiled for the layout of these fields."""
        contiguous = all(field.flags.c_contiguous for field in arguments[: self._fields])
        return (self._contiguous if contiguous else self._strided)(*arguments)
