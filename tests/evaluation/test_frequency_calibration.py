"""The two maps to a probability, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from propensity.baselines.calibration import LogOddsLine, fit_log_odds_line, fit_rising_curve


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=1, max_size=60))
def test_rising_curve_is_isotonic_regression_on_smoothed_shares(pairs) -> None:
    score = np.array([count for count, _ in pairs], dtype=np.float64)
    positive = np.array([label for _, label in pairs])
    distinct = np.unique(score)
    size = np.array([(score == value).sum() for value in distinct])
    share = np.array([(positive[score == value].sum() + 0.5) for value in distinct]) / (size + 1)
    expected = IsotonicRegression().fit(distinct, share, sample_weight=size + 1).predict(distinct)
    curve = fit_rising_curve(score, positive)
    assert (np.diff(curve.score) > 0).all()
    assert (np.diff(curve.probability) > 0).all()
    assert ((curve.probability > 0) & (curve.probability < 1)).all()
    # Blocks are equal runs of the regression, at the mean score of their pairs.
    assert curve.probability == pytest.approx(np.unique(expected.round(9)), abs=1e-8)
    for at, value in zip(curve.score, curve.probability, strict=True):
        members = distinct[np.abs(expected - value) < 1e-8]
        assert at == pytest.approx(score[np.isin(score, members)].mean())


def test_many_distinct_scores_share_bins_of_equal_mass() -> None:
    generator = np.random.default_rng(7)
    score = generator.random(20_000)
    curve = fit_rising_curve(score, generator.random(20_000) < score, max_bins=50)
    assert 30 < len(curve.score) <= 50
    at = np.linspace(0.05, 0.95, 10)
    assert curve(at) == pytest.approx(at, abs=0.05)


def test_a_curve_of_nothing_has_no_block() -> None:
    assert len(fit_rising_curve(np.empty(0), np.empty(0, dtype=bool)).score) == 0


def test_log_odds_line_is_logistic_regression() -> None:
    generator = np.random.default_rng(7)
    share = generator.uniform(0.001, 0.4, size=40)
    pairs = generator.integers(500, 5000, size=40)
    true = LogOddsLine(-0.8, 0.6)
    positives = generator.binomial(pairs, true(share))
    line = fit_log_odds_line(share, positives.astype(float), pairs.astype(float))
    features = np.log(share / (1 - share))[:, None]
    oracle = LogisticRegression(C=1e8, tol=1e-10, max_iter=1000).fit(
        np.concatenate([features, features]),
        np.repeat([1, 0], 40),
        np.concatenate([positives, pairs - positives]),
    )
    assert line.intercept == pytest.approx(oracle.intercept_[0], abs=1e-3)
    assert line.slope == pytest.approx(oracle.coef_[0, 0], abs=1e-3)
    assert (line.intercept, line.slope) == pytest.approx((-0.8, 0.6), abs=0.1)


def test_without_pairs_a_share_is_taken_as_it_is() -> None:
    line = fit_log_odds_line(np.array([0.3]), np.zeros(1), np.zeros(1))
    assert line(np.array([0.0, 0.3])) == pytest.approx([1e-5, 0.3])


def test_pairs_without_a_positive_give_a_finite_small_probability() -> None:
    line = fit_log_odds_line(np.array([0.0, 0.3]), np.zeros(2), np.array([1e6, 1e6]))
    assert 0 < line(np.array([0.3]))[0] < 1e-4
