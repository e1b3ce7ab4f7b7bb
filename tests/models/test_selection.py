from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from scipy.sparse import csr_matrix

from propensity.models.selection import select


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_entries_move_to_their_column_or_go(share):
    rng = np.random.default_rng(0)
    features = scipy.sparse.random(20, 50, 0.2, "csr", np.float32, random_state=rng)
    column_of = np.where(rng.random(50) < share, rng.permutation(50), -1)
    found = select(features, column_of, features.data * 2, 60)
    expected = np.zeros((20, 60), np.float32)
    expected[:, column_of[column_of >= 0]] = 2 * features.toarray()[:, column_of >= 0]
    assert found.shape == (20, 60)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.toarray(), expected)


def test_a_rows_entries_stay_in_order():
    features = csr_matrix((np.float32([1, 2, 3, 4]), np.array([3, 0, 2, 1]), np.array([0, 3, 3, 4])), shape=(3, 4))
    found = select(features, np.array([5, -1, 1, 4]), features.data, 6)
    assert found.indices.tolist() == [4, 5, 1]
    assert found.data.tolist() == [1, 2, 3]
    assert found.indptr.tolist() == [0, 3, 3, 3]
