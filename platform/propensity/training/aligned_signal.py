"""One category-aligned signal as a matrix of customers and categories."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix

from propensity.errors import InputError, LookupFailedError, did_you_mean

if TYPE_CHECKING:
    from propensity.features.dictionary import FeatureDictionary
    from propensity.training.examples import Examples


def aligned_signal(examples: Examples, dictionary: FeatureDictionary, signal: str) -> csr_matrix:
    """Return a signal's values by category; cost and memory follow the features' non-zeros.

    Args:
        examples: Rows; column j of their features is `feature_index` j.
        dictionary: Says which feature is which; it may know more features than the examples have columns,
            since it only grows.
        signal: A category-aligned signal, e.g. `purchases_365d`.

    Returns:
        csr_matrix, float32, (n_examples, n_categories), sorted indices, no stored zeros.

    Raises:
        LookupFailedError: The dictionary has no category-aligned signal of that name.
        InputError: The examples have more features than the dictionary, or fewer categories than the signal.
    """
    features = examples.features
    if features.shape[1] > len(dictionary):
        raise InputError(
            f"The examples have {features.shape[1]} features, the dictionary {len(dictionary)}: "
            "it is older than they are. Load it again."
        )
    aligned = dictionary.category_index >= 0
    wanted = np.flatnonzero(aligned & (dictionary.signal == signal))
    if not len(wanted):
        known = sorted(set(dictionary.signal[aligned]))
        raise LookupFailedError(
            f"{signal!r} is not a category-aligned signal of the feature dictionary."
            f"{did_you_mean(signal, known)} Known ones: {', '.join(known) or 'none'}."
        )
    if dictionary.category_index[wanted].max() >= examples.n_categories:
        raise InputError(
            f"Signal {signal!r} has category_index {dictionary.category_index[wanted].max()}, "
            f"but the examples have {examples.n_categories} categories."
        )
    # The array may be longer than the columns; indices never reach the rest.
    category_of_feature = np.full(len(dictionary), -1, dtype=np.int32)
    category_of_feature[wanted] = dictionary.category_index[wanted]
    category = category_of_feature[features.indices]
    kept = (category >= 0) & (features.data != 0)
    n_kept_before = np.concatenate(([0], np.cumsum(kept)))
    matrix = csr_matrix(
        (features.data[kept].astype(np.float32, copy=False), category[kept], n_kept_before[features.indptr]),
        shape=(features.shape[0], examples.n_categories),
    )
    matrix.sort_indices()
    return matrix
