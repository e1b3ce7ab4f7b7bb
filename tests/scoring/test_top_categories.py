from __future__ import annotations

import numpy as np
import pytest

from propensity.scoring.top_categories import FEWEST_SCORES, LANES, MOST_IN_LANES, MOST_RANKED, write_highest


def highest(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and scores that `write_highest` writes."""
    positions, values = np.full((len(scores), k), -1, np.int32), np.full((len(scores), k), np.nan, np.float32)
    write_highest(scores, positions, values)
    return positions, values


@pytest.mark.parametrize(
    ("n", "k"),
    [
        (1, 1), (5, 5), (60, 1), (60, 20),
        (FEWEST_SCORES - 1, 20), (FEWEST_SCORES, 20), (500, 1), (500, MOST_IN_LANES), (500, MOST_IN_LANES + 1),
        (8 * int(LANES), 20), (8 * int(LANES) + 1, 20), (2000, 20), (2000, 2000),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kinds", [1, 3, 1000, 10**9])
def test_the_highest_come_first_and_equals_in_order(n, k, kinds):
    """Of few kinds: many equals, at the edge too."""
    rng = np.random.default_rng(n + kinds)
    scores = rng.integers(-kinds // 2, kinds, (40, n)).astype(np.float32)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    # A column of a larger array, as with more classes than two.
    for given in (scores, np.stack((scores, -scores), axis=1)[:, 0]):
        positions, values = highest(given, k)
        np.testing.assert_array_equal(positions, expected)
        np.testing.assert_array_equal(values, np.take_along_axis(scores, expected, axis=1))


@pytest.mark.parametrize("n_equal", [MOST_RANKED - 1, MOST_RANKED, MOST_RANKED + 1])
def test_equals_about_as_many_as_are_ranked(n_equal):
    rng = np.random.default_rng(n_equal)
    scores = rng.random((1, 1000), np.float32)
    scores[0, rng.choice(1000, n_equal, replace=False)] = 2.0
    assert highest(scores, 20)[0][0].tolist() == np.flatnonzero(scores[0] == 2.0)[:20].tolist()


@pytest.mark.parametrize("n", [30, 1000])
def test_rows_that_rise_or_fall_and_no_rows(n):
    rising = np.arange(n, dtype=np.float32)[None]
    assert highest(rising, 4)[0].tolist() == [[n - 1, n - 2, n - 3, n - 4]]
    assert highest(-rising, 4)[0].tolist() == [[0, 1, 2, 3]]
    assert highest(rising[:0], 4)[0].shape == (0, 4)


@pytest.mark.parametrize("lane", range(0, int(LANES), 9))
def test_all_of_the_highest_in_one_lane(lane):
    scores = np.random.default_rng(lane).random((1, 64 * 30), np.float32)
    scores[0, lane :: int(LANES)] += 1.0
    assert highest(scores, 20)[0][0].tolist() == np.argsort(-scores[0], kind="stable")[:20].tolist()
