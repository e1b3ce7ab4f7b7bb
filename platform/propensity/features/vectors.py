"""Sparse matrices from Arrow list columns: a list's offsets are a CSR's indptr, its child the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix

from propensity.arrow_numpy import arrow_array, numpy_array
from propensity.columns import INDICES, VALUES
from propensity.compiled import compiled
from propensity.errors import InputError

if TYPE_CHECKING:
    import numpy.typing as npt

SEPARATOR = "__"
"""Between view and column in Feast's full feature names, e.g. `customer_purchases__indices`."""


def list_pairs(batch: pa.RecordBatch | pa.Table) -> list[tuple[pa.Array, pa.Array]]:
    """Return a batch's pairs of columns: `indices`, `values` and any `<view>__indices`, `<view>__values`.

    Raises:
        InputError: An indices column has no values column, or the other way round.
    """
    names = set(batch.schema.names)
    views = sorted({name[: -len(column)] for column in (INDICES, VALUES) for name in names if _is_part(name, column)})
    pairs = []
    for view in views:
        missing = [view + column for column in (INDICES, VALUES) if view + column not in names]
        if missing:
            raise InputError(f"Column {missing[0]!r} is missing. Existing columns: {', '.join(batch.schema.names)}")
        pairs.append((batch.column(view + INDICES), batch.column(view + VALUES)))
    return pairs


def csr_from_lists(
    pairs: Sequence[tuple[pa.Array, pa.Array]], n_features: int, n_rows: int | None = None
) -> csr_matrix:
    """Build one CSR, float32, (n_rows, n_features), from pairs of list columns; a row's lists are joined.

    Costs a pass over the non-zeros, without a Python loop over rows; one pair without nulls is not copied
    where types allow. A null list is an empty one. A feature index of `n_features` or more is dropped: the
    dictionary grows. A row's indices stay in the order given.

    Args:
        pairs: (indices, values): Arrow list columns of equal lengths, slices and chunks included; list<int>
            and list<float>, of any width.
        n_features: Columns of the result.
        n_rows: Rows, needed if there are no pairs only.

    Raises:
        InputError: Lengths differ, an index is negative or null, a value is null or not finite, or a column
            is no list.
    """
    parts = [_part(number, indices, values) for number, (indices, values) in enumerate(pairs)]
    if not parts:
        return csr_matrix((n_rows or 0, n_features), dtype=np.float32)
    if len({len(lengths) for lengths, _, _ in parts}) > 1:
        raise InputError(
            f"The list columns have {sorted({len(part[0]) for part in parts})} rows; they must have as many."
        )
    if len(parts) == 1:
        lengths, indices, values = parts[0]
        indptr = _indptr(lengths)
    else:
        lengths = np.sum([part[0] for part in parts], axis=0)
        indptr = _indptr(lengths)
        indices, values = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)
        free = indptr[:-1].copy()
        for part_lengths, part_indices, part_values in parts:
            if len(part_indices):
                _write_lists(part_lengths, part_indices, part_values, free, indices, values)
    keep = indices < n_features
    if not keep.all():
        indptr = _indptr(keep)[indptr]
        indices, values = indices[keep], values[keep]
    # SciPy picks its index type by what it's given: one type for both saves a copy and a check.
    kind = np.int32 if indptr[-1] <= np.iinfo(np.int32).max else np.int64
    matrix = csr_matrix((len(lengths), n_features), dtype=np.float32)
    matrix.indptr = indptr.astype(kind)
    matrix.indices = indices.astype(kind, copy=False)
    matrix.data = values
    return matrix


def lists_from_matrix(matrix: npt.NDArray[Any]) -> pa.ListArray:
    """Return a matrix, (n_rows, width), as a list per row, of its type; one in C order is not copied."""
    count, width = matrix.shape
    offsets = np.arange(0, count * width + 1, max(width, 1), dtype=np.int32)[: count + 1]
    return pa.ListArray.from_arrays(arrow_array(offsets), arrow_array(matrix.ravel()))


def _is_part(name: str, column: str) -> bool:
    return name == column or name.endswith(SEPARATOR + column)


def _part(
    number: int, indices: pa.Array, values: pa.Array
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Return (lengths, flat indices, flat values) of one pair of columns."""
    indices, values = _one(indices), _one(values)
    for column in (indices, values):
        if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
            raise InputError(f"Feature vector column {number} has type {column.type}; it must be a list.")
    lengths = _lengths(indices)
    if not np.array_equal(lengths, _lengths(values)):
        raise InputError(f"Feature vector {number}: a row has lists of indices and values of different lengths.")
    flat_indices, flat_values = indices.flatten(), values.flatten()  # skips null lists, minds slices
    if flat_indices.null_count or flat_values.null_count:
        raise InputError(f"Feature vector {number}: a list holds a null; leave the entry out instead.")
    try:
        index: npt.NDArray[np.int32] = numpy_array(flat_indices.cast(pa.int32()))
        value: npt.NDArray[np.float32] = numpy_array(flat_values.cast(pa.float32()))
    except pa.ArrowInvalid as error:
        raise InputError(f"Feature vector {number}: {error}") from error
    if len(index) and index.min() < 0:
        raise InputError(f"Feature vector {number}: a feature index is negative.")
    if not np.isfinite(value).all():
        raise InputError(f"Feature vector {number}: a value isn't a finite number.")
    return lengths, index, value


@compiled
def _write_lists(
    lengths: npt.NDArray[np.int64],
    part_indices: npt.NDArray[np.int32],
    part_values: npt.NDArray[np.float32],
    free: npt.NDArray[np.int64],
    indices: npt.NDArray[np.int32],
    values: npt.NDArray[np.float32],
) -> None:
    """Write each row's list to its first place that is free, and say which is free after it."""
    entry = 0
    for row in range(len(lengths)):
        for place in range(free[row], free[row] + lengths[row]):
            indices[place], values[place] = part_indices[entry], part_values[entry]
            entry += 1
        free[row] += lengths[row]


def _one(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _lengths(column: pa.Array) -> npt.NDArray[np.int64]:
    lengths = pc.list_value_length(column)
    return numpy_array(pc.fill_null(lengths, 0) if column.null_count else lengths).astype(np.int64)


def _indptr(lengths: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)))
