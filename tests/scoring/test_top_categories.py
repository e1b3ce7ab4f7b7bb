from __future__ import annotations

import numpy as np
import pytest

from propensity.scoring.top_categories import highest


@pytest.mark.parametrize(("n", "k"), [(1, 1), (5, 5), (60, 1), (60, 20), (500, 20)])
@pytest.mark.parametrize("kinds", [3, 1000])
def test_the_highest_come_first_and_equals_in_order(n, k, kinds):
    """Of few kinds: many equals, at the edge too."""
    rng = np.random.default_rng(n + kinds)
    scores = rng.integers(0, kinds, (40, n)).astype(np.float32)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(highest(scores, k), expected)
    # A column of a larger array, as with more classes than two.
    np.testing.assert_array_equal(highest(np.stack((scores, -scores), axis=1)[:, 0], k), expected)


def test_rows_that_rise_or_fall_and_no_rows():
    rising = np.arange(30, dtype=np.float32)[None]
    assert highest(rising, 4).tolist() == [[29, 28, 27, 26]]
    assert highest(-rising, 4).tolist() == [[0, 1, 2, 3]]
    assert highest(rising[:0], 4).shape == (0, 4)
