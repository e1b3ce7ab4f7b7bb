"""Numbers between Arrow and NumPy, sharing memory.

Arrow's own ways there (`pa.array`, `pa.scalar`, `to_numpy`) ask pandas whether a value is one of its own and import it
for that: half a second of every process of a cluster that scores.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    import numpy.typing as npt


def arrow_array(values: npt.NDArray[Any]) -> pa.Array:
    """Return numbers, (n,), as Arrow's array of their type; those that don't lie in one piece are copied."""
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def numpy_array(array: pa.Array | pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return numbers without nulls as NumPy's array of their type, (n,), which can't be written to.

    Raises:
        TypeError: There are nulls, or other things than numbers.
    """
    if array.null_count or not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        raise TypeError(f"{array.type} with {array.null_count} nulls isn't an array of numbers.")
    if not isinstance(array, pa.ChunkedArray):
        return np.from_dlpack(array)
    if array.num_chunks == 0:
        return np.empty(0, array.type.to_pandas_dtype())
    return np.from_dlpack(pa.concat_arrays(array.chunks) if array.num_chunks > 1 else array.chunk(0))


def repeated_text(text: str, n: int) -> pa.Array:
    """Return an array of one text, n times, as strings."""
    piece = text.encode()
    offsets = np.arange(n + 1, dtype=np.int32) * len(piece)
    return pa.Array.from_buffers(pa.string(), n, [None, pa.py_buffer(offsets), pa.py_buffer(piece * n)])


def repeated_instant(instant: datetime, n: int, kind: pa.DataType) -> pa.Array:
    """Return an array of one instant, n times, as Arrow's type of microseconds in a time zone."""
    microseconds = (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return arrow_array(np.full(n, microseconds, np.int64)).view(kind)
