"""Three as_ofs, three categories, and a rule so plain that the right answer can be counted by hand.

At each as_of there are 12 customers. Customers 0..3 bought BREAD 3 times and 3 of 4 do again; 4..7 bought it
once and 1 of 4 does again; 8..11 never did and nobody does. MILK has the same story with customers in reverse
order. Nobody has bought WINE, and customer 0 does. Labels are classes 1 and 2, both positive.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from propensity.features.dictionary import FeatureDictionary
from propensity.training.examples import Examples

# In the order the features came up: not by category, signals mixed, and one that isn't aligned.
DICTIONARY = FeatureDictionary(
    family=np.array(["purchases"] * 6 + ["profile"], dtype=object),
    signal=np.array(
        [f"purchases_{way}" for way in ("365d", "365d", "decay_60d", "365d", "decay_60d", "decay_60d")] + ["tenure"],
        dtype=object,
    ),
    key=np.array(["WINE", "BREAD", "WINE", "MILK", "BREAD", "MILK", "days"], dtype=object),
    category_index=np.array([2, 0, 2, 1, 0, 1, -1], dtype=np.int32),
)
BREAD_COUNT = np.repeat([3.0, 1.0, 0.0], 4)
BREAD_LABEL = np.array([1, 2, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0])
POPULARITY = np.array([0.4, 0.4, 0.0])


def examples(positions: list[int], *, labelled: bool = True, popularity: np.ndarray = POPULARITY) -> Examples:
    """The examples of as_ofs 0, 1 and 2."""
    features = np.zeros((12, len(DICTIONARY)))
    features[:, 1], features[:, 3] = BREAD_COUNT, BREAD_COUNT[::-1]
    features[:, 4], features[:, 5] = BREAD_COUNT / 8, BREAD_COUNT[::-1] / 8
    features[:, 6] = 100
    labels = np.stack([BREAD_LABEL, BREAD_LABEL[::-1], np.arange(12) == 0], axis=1)
    n = len(positions)
    return Examples(
        customer_id=np.array([f"c{row}" for row in range(12)] * n, dtype=object),
        as_of=np.array(["2024-01-01", "2024-02-01", "2024-03-01"], dtype="datetime64[us]")[positions],
        as_of_position=np.repeat(np.arange(n, dtype=np.int32), 12),
        features=csr_matrix(np.tile(features, (n, 1)).astype(np.float32)),
        labels=csr_matrix(np.tile(labels, (n, 1)).astype(np.int8)) if labelled else None,
        popularity=np.tile(popularity, (n, 1)).astype(np.float32),
    )
