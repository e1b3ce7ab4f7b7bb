"""Rows as the nets read them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class EncodedRows:
    """Encoded rows, sparse where the features are.

    Attributes:
        deep: csr_matrix, float32, (n_rows, n_columns): input of the deep part.
        customer: The customer's own signals, standardised, float32, (n_rows, n_customer_signals).
        cross: csr_matrix, float32, (n_rows, n_categories * n_cross_signals): the cross signals of the row's seen
            pairs, not standardised; column `position * n_cross_signals + i`.
        pair_indptr: Row i's seen pairs are `pair_indptr[i]:pair_indptr[i + 1]`, int64, (n_rows + 1,).
        pair_position: The pair's category as position in the model's output, int32, (n_pairs,), rising in a
            row.
        pair_signals: The pair's category-aligned signals, standardised, float32, (n_pairs, n_signals).
    """

    deep: csr_matrix
    customer: npt.NDArray[np.float32]
    cross: csr_matrix
    pair_indptr: npt.NDArray[np.int64]
    pair_position: npt.NDArray[np.int32]
    pair_signals: npt.NDArray[np.float32]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.pair_indptr) - 1

    @cached_property
    def pair_row(self) -> npt.NDArray[np.int32]:
        """The pair's row, int32, (n_pairs,), rising."""
        return np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.pair_indptr))

    def take(self, rows: npt.NDArray[np.int64]) -> EncodedRows:
        """Return the rows named, in that order; costs their non-zeros only."""
        counts = self.pair_indptr[rows + 1] - self.pair_indptr[rows]
        indptr = np.concatenate(([0], np.cumsum(counts)))
        pairs = np.arange(indptr[-1]) + np.repeat(self.pair_indptr[rows] - indptr[:-1], counts)
        return EncodedRows(
            self.deep[rows],
            self.customer[rows],
            self.cross[rows],
            indptr,
            self.pair_position.take(pairs),
            self.pair_signals.take(pairs, axis=0),
        )

    def slice(self, start: int, stop: int) -> EncodedRows:
        """Return the rows from `start` to before `stop`, without copying their values."""
        pairs = slice(int(self.pair_indptr[start]), int(self.pair_indptr[stop]))
        return EncodedRows(
            _slice(self.deep, start, stop),
            self.customer[start:stop],
            _slice(self.cross, start, stop),
            self.pair_indptr[start : stop + 1] - self.pair_indptr[start],
            self.pair_position[pairs],
            self.pair_signals[pairs],
        )


def _slice(matrix: csr_matrix, start: int, stop: int) -> csr_matrix:
    low, high = matrix.indptr[start], matrix.indptr[stop]
    return csr_matrix(
        (matrix.data[low:high], matrix.indices[low:high], matrix.indptr[start : stop + 1] - low),
        shape=(stop - start, matrix.shape[1]),
    )
