"""Scores to probabilities with two maps: one for pairs with history, one for those without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix

from propensity.errors import TrainingError

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.training.examples import Examples


@dataclass(frozen=True)
class SplitPairs:
    """One as_of's training pairs, with and without history.

    Attributes:
        seen_positive: Whether each stored value of the counting signal belongs to a positive pair, bool, (nnz,).
        unseen_pairs: Pairs without history of each category, float64, (n_categories,).
        unseen_positives: The positive ones among them, float64, (n_categories,).
    """

    seen_positive: npt.NDArray[np.bool_]
    unseen_pairs: npt.NDArray[np.float64]
    unseen_positives: npt.NDArray[np.float64]


def newest_labelled(examples: Examples, name: str) -> Examples:
    """Return the examples of the newest as_of.

    Raises:
        TrainingError: There are no rows or no labels; `name` is the baseline that needs them.
    """
    if examples.labels is None or not len(examples):
        raise TrainingError(f"{name} needs training rows with labels. Build them: propensity labels build")
    return examples.at(examples.as_of == examples.as_of[examples.as_of_position].max())


def split_pairs(counts: csr_matrix, labels: csr_matrix) -> SplitPairs:
    """Take labels apart by whether `counts`, (n_examples, n_categories), has a value; cost follows the non-zeros."""
    positive = (labels > 0).astype(np.int64)
    seen = csr_matrix((np.arange(1, counts.nnz + 1), counts.indices, counts.indptr), shape=counts.shape)
    # The product keeps the number of each seen pair that is positive.
    seen_positive = seen.multiply(positive).tocsr()
    is_positive = np.zeros(counts.nnz, dtype=np.bool_)
    is_positive[seen_positive.data - 1] = True
    return SplitPairs(
        is_positive,
        (counts.shape[0] - per_category(seen)).astype(np.float64),
        (per_category(positive) - per_category(seen_positive)).astype(np.float64),
    )


def per_category(matrix: csr_matrix) -> npt.NDArray[np.int64]:
    """Count the stored entries of each column, int64, (n_categories,)."""
    return np.bincount(matrix.indices, minlength=matrix.shape[1])
