"""A hint to the processor, which numba has no name for: this cell will be wanted soon."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
from llvmlite import ir
from numba import extending as numba_extending
from numba import types

extending: Any = numba_extending  # numba's own annotations change from version to version


def prefetch(array: npt.NDArray[Any], index: int) -> None:
    """Start to load `array[index]` for writing; outside compiled code, nothing. Any index is safe: it is a hint."""


@extending.overload(prefetch)
def _compiled_prefetch(array, index):  # type: ignore[no-untyped-def] # noqa: ARG001 - numba goes by these very names
    return lambda array, index: _hint(array, index)


@extending.intrinsic
def _hint(_context: Any, array: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = ir.IntType(8).as_pointer()
        flag = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, flag, flag, flag])
        hint = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        address = builder.bitcast(builder.gep(view.data, [arguments[1]]), pointer)
        for_writing, keep_close, data_not_code = flag(1), flag(3), flag(1)
        builder.call(hint, [address, for_writing, keep_close, data_not_code])
        return context.get_dummy_value()

    return types.void(array, index), generate
