"""Kernels over the fields of a packet, compiled for contiguous arrays and for views.

A reader may pass strided views of its records; loops over contiguous arrays are faster. A recording waits while the
layout of its packets is compiled (once on a machine, the result is cached), which takes two seconds. A camera does not
wait: its stage compiles both layouts before the first event arrives (`compile_all`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from numba import njit
from numba import types as numba_types

from eventveil.events import EventPacket

types: Any = numba_types  # numba's annotations change from version to version


def event_columns(layout: str) -> tuple[Any, ...]:
    """Return Numba's types of t, x, y and p in the memory layout "C" (contiguous) or "A" (any strides).

    Every array may be treated as read-only and unaligned, so one compilation per layout serves all arrays.
    """
    fields = (types.int64, types.uint16, types.uint16, types.uint8)
    return tuple(types.Array(field, 1, layout, readonly=True, aligned=False) for field in fields)


class ByLayout:
    """A kernel that is compiled for each memory layout when it is first needed.

    Args:
        kernel: function whose first arguments are fields of a packet.
        fields: number of these: 3 for t, x, y; 4 for t, x, y, p, with p as uint8.
        returns: Numba's type of the result.
        others: Numba's types of the other arguments.
    """

    def __init__(self, kernel: Callable[..., Any], fields: int, returns: Any, *others: Any) -> None:
        self._kernel = kernel
        self._fields = fields
        self._signatures = {layout: returns(*event_columns(layout)[:fields], *others) for layout in "CA"}
        _kernels.append(self)

    @cached_property
    def contiguous(self) -> Any:
        """The kernel for contiguous arrays."""
        return njit(self._signatures["C"], nogil=True, cache=True)(self._kernel)

    @cached_property
    def strided(self) -> Any:
        """The kernel for arrays with any strides."""
        return njit(self._signatures["A"], nogil=True, cache=True)(self._kernel)

    def __call__(self, *arguments: Any) -> Any:
        """Call the kernel compiled for the layout of these fields."""
        contiguous = all(field.flags.c_contiguous for field in arguments[: self._fields])
        return (self.contiguous if contiguous else self.strided)(*arguments)


_kernels: list[ByLayout] = []


def is_strided(packet: EventPacket) -> bool:
    """Return whether a packet, or a part of it with two events or more, needs kernels for strided arrays."""
    return any(field.strides != (field.itemsize,) for field in (packet.t, packet.x, packet.y, packet.p))


def compile_all(*, strided: bool = True) -> None:
    """Compile the kernels of all imported modules, or load them from the cache.

    Args:
        strided: for arrays with any strides, too, not only for contiguous ones.
    """
    for kernel in _kernels:
        _ = kernel.contiguous, kernel.strided if strided else None
