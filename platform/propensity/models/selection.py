"""Moving the entries of sparse rows to other columns, some of them nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from propensity.compiled import compiled

if TYPE_CHECKING:
    import numpy.typing as npt

    Ints = npt.NDArray[Any]
    Floats = npt.NDArray[np.float32]


def select(
    features: csr_matrix, column_of: Ints, values: Floats, n_columns: int, scale: Floats | None = None
) -> csr_matrix:
    """Return a CSR, float32, (n_rows, n_columns), with each stored value moved; a row's entries stay in order.

    Args:
        features: Whose entries.
        column_of: Column by the entry's column in `features`, -1 for one that goes, integers, (width of features,).
        values: Of the entries.
        n_columns: Of the result.
        scale: What a column's values are divided by, (n_columns,); by nothing if not given.
    """
    n_entries = len(values)
    indptr = np.zeros(features.shape[0] + 1, features.indptr.dtype)
    # One too many: an entry that goes is written and then written over.
    column, kept = np.empty(n_entries + 1, np.int32), np.empty(n_entries + 1, np.float32)
    arrays = features.indptr, features.indices, values, column_of, indptr, column, kept
    n_kept = _write_selected(*arrays) if scale is None else _write_scaled(*arrays, scale)
    return csr_matrix((kept[:n_kept], column[:n_kept], indptr), shape=(features.shape[0], n_columns))


@compiled
def _write_selected(
    indptr: Ints, indices: Ints, values: Floats, column_of: Ints, new_indptr: Ints, column: Ints, kept: Floats
) -> int:
    """Write the selected entries, and return how many they are."""
    n = 0
    for row in range(len(indptr) - 1):
        for entry in range(indptr[row], indptr[row + 1]):
            own = column_of[indices[entry]]
            column[n], kept[n] = own, values[entry]
            n += own >= 0
        new_indptr[row + 1] = n
    return n


@compiled
def _write_scaled(
    indptr: Ints, indices: Ints, values: Floats, column_of: Ints, new_indptr: Ints, column: Ints, kept: Floats,
    scale: Floats,
) -> int:  # fmt: skip
    """Write the selected entries, each divided by its column's scale, and return how many they are."""
    n = 0
    for row in range(len(indptr) - 1):
        for entry in range(indptr[row], indptr[row + 1]):
            own = column_of[indices[entry]]
            column[n], kept[n] = own, values[entry] / scale[max(own, 0)]
            n += own >= 0
        new_indptr[row + 1] = n
    return n
