"""Asking the processor for memory that is needed soon, which compiled loops have no word for in Python."""

from __future__ import annotations

from typing import Any, Final

import numba
import numba.extending
from llvmlite import ir

_BYTE, _INT = ir.IntType(8).as_pointer(), ir.IntType(32)
_TO_READ, _TO_ALL_CACHES, _DATA = (ir.Constant(_INT, number) for number in (0, 3, 1))


def _prefetch(_typing: Any, array: Any, row: Any, column: Any) -> Any:
    """Return the signature, and what writes LLVM's `llvm.prefetch` where it is called."""
    tools: Any = numba.core.cgutils

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        where = [context.cast(builder, arguments[i], kinds[i], numba.types.intp) for i in (1, 2)]
        found = context.make_array(kinds[0])(context, builder, arguments[0])
        place = tools.get_item_pointer(context, builder, kinds[0], found, where, wraparound=False)
        kind = ir.FunctionType(ir.VoidType(), [_BYTE, _INT, _INT, _INT])
        function = tools.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [builder.bitcast(place, _BYTE), _TO_READ, _TO_ALL_CACHES, _DATA])
        return context.get_dummy_value()

    return numba.types.void(array, row, column), generate


prefetch: Final[Any] = numba.extending.intrinsic(_prefetch)
"""In compiled loops, `prefetch(array, row, column)`: begin to fetch the cache line of that place. Changes no value."""
