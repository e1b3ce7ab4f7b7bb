"""What one pass over the training rows adds up: all that the encoder is fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from propensity.models.encoding import squash

if TYPE_CHECKING:
    import numpy.typing as npt
    from scipy.sparse import csr_matrix

    from propensity.training.examples import ExampleChunks

MARKS: Final = 1 << 24
"""Bytes for telling which (row, category) have been seen."""


@dataclass(frozen=True)
class ExampleSums:
    """Sums over rows. Values are squashed, as the encoder squashes them; sums are float64.

    Attributes:
        n_rows: Rows.
        counts: Rows that have the feature, int64, (n_features,).
        sums: Of its values, (n_features,).
        squares: Of its values' squares, (n_features,).
        n_pairs: Seen pairs: (row, category) with any category-aligned feature.
        labelled: `category_index` of the categories with a label, rising, int32.
    """

    n_rows: int
    counts: npt.NDArray[np.int64]
    sums: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]
    n_pairs: int
    labelled: npt.NDArray[np.int32]

    def moments(self, features: npt.NDArray[np.int64], among: int) -> tuple[float, float]:
        """Return mean and standard deviation of a signal that these features hold, 0 where none of them is stored.

        The deviation is 1 for a constant, within float64's and float32's rounding, and without rows.

        Args:
            features: Features of which a row, or a seen pair, has one at most.
            among: Number of these rows or pairs.
        """
        if among == 0:
            return 0.0, 1.0
        mean, square = self.sums[features].sum() / among, self.squares[features].sum() / among
        variance = square - mean**2
        return float(mean), float(np.sqrt(variance)) if variance > max(1e-12, 1e-8 * square) else 1.0


def add_up(examples: ExampleChunks, category_of: npt.NDArray[np.int32]) -> ExampleSums:
    """Add up all chunks.

    Sums of the same rows in other chunks differ by float64's rounding.

    Args:
        examples: Training rows.
        category_of: A feature's category if it is category-aligned, else -1, (n_features,).
    """
    n_features = examples.n_features
    n_rows = n_pairs = 0
    counts = np.zeros(n_features, np.int64)
    sums, squares = np.zeros(n_features), np.zeros(n_features)
    labelled = np.empty(0, np.int32)
    for chunk in examples.chunks():
        features = chunk.features
        values = squash(features.data).astype(np.float64)
        n_rows += len(chunk)
        counts += np.bincount(features.indices, minlength=n_features)
        sums += np.bincount(features.indices, weights=values, minlength=n_features)
        squares += np.bincount(features.indices, weights=values**2, minlength=n_features)
        n_pairs += _count_pairs(features, category_of)
        if chunk.labels is not None:
            labelled = np.union1d(labelled, chunk.labels.indices[chunk.labels.data > 0]).astype(np.int32)
    return ExampleSums(n_rows, counts, sums, squares, n_pairs, labelled)


def _count_pairs(features: csr_matrix, category_of: npt.NDArray[np.int32]) -> int:
    n_rows, n_categories = features.shape[0], int(category_of.max(initial=-1)) + 1
    step = max(1, MARKS // max(1, n_categories))
    n_pairs = 0
    for start in range(0, n_rows, step):
        bounds = features.indptr[start : start + step + 1]
        category = category_of[features.indices[bounds[0] : bounds[-1]]]
        cell = np.repeat(np.arange(len(bounds) - 1) * n_categories, np.diff(bounds)) + category
        marks = np.zeros((len(bounds) - 1) * n_categories, bool)
        marks[cell[category >= 0]] = True
        n_pairs += int(np.count_nonzero(marks))
    return n_pairs
