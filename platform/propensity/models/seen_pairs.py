"""From a row's category-aligned features to a line of signals for each category it has any of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from propensity.compiled import compiled

if TYPE_CHECKING:
    import numpy.typing as npt
    from scipy.sparse import csr_matrix

    Ints = npt.NDArray[Any]
    Floats = npt.NDArray[np.float32]


def seen_pairs(
    features: csr_matrix,
    values: Floats,
    feature_position: npt.NDArray[np.int32],
    feature_signal: npt.NDArray[np.int32],
    *,
    n_categories: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], Floats]:
    """Gather each row's category-aligned signals into one dense line per (row, category) that has any.

    Args:
        features: csr_matrix, (n_rows, n_features).
        values: Of its entries.
        feature_position: A category-aligned feature's category, as position in the model's output, else -1;
            (n_features,).
        feature_signal: Its signal, else -1; (n_features,).
        n_categories: N.

    Returns:
        (pair_indptr, pair_position, pair_signals) of EncodedRows, signals as given in `values`.
    """
    n_rows, n_signals = features.shape[0], int(feature_signal.max(initial=-1)) + 1
    pair_indptr = np.zeros(n_rows + 1, np.int64)
    if n_signals == 0:
        return pair_indptr, np.zeros(0, np.int32), np.zeros((0, 0), np.float32)
    rows = features.indptr, features.indices
    # A row has no more pairs than entries, nor than categories. One too many: see `_write_positions`.
    most = min(features.nnz, n_rows * n_categories)
    position = np.empty(most + 1, np.int32)
    n_pairs = _write_positions(*rows, feature_position, n_categories, pair_indptr, position)
    position = position[:n_pairs].copy()
    signals = np.zeros((n_pairs, n_signals), np.float32)
    _write_signals(*rows, values, feature_position, feature_signal, n_categories, pair_indptr, position, signals)
    return pair_indptr, position, signals


@compiled
def _write_positions(
    indptr: Ints, indices: Ints, feature_position: Ints, n_categories: int, pair_indptr: Ints, position: Ints
) -> int:
    """Write each row's categories, rising, and where they begin; return how many there are in all."""
    seen = np.zeros(n_categories + 1, np.uint8)  # the last one is for features of no category
    n = 0
    for row in range(len(indptr) - 1):
        for entry in range(indptr[row], indptr[row + 1]):
            seen[feature_position[indices[entry]]] = 1
        for category in range(n_categories):
            # Written in any case, and written over by the next where it doesn't count: a branch would be guessed wrong.
            position[n] = category
            n += seen[category]
            seen[category] = 0
        pair_indptr[row + 1] = n
    return n


@compiled
def _write_signals(
    indptr: Ints, indices: Ints, values: Floats, feature_position: Ints, feature_signal: Ints, n_categories: int,
    pair_indptr: Ints, position: Ints, signals: Floats,
) -> None:  # fmt: skip
    line = np.empty(n_categories, np.int64)
    for row in range(len(indptr) - 1):
        for pair in range(pair_indptr[row], pair_indptr[row + 1]):
            line[position[pair]] = pair
        for entry in range(indptr[row], indptr[row + 1]):
            category = feature_position[indices[entry]]
            if category >= 0:
                signals[line[category], feature_signal[indices[entry]]] = values[entry]
