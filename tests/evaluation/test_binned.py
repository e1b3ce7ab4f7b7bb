"""Figures from counts per bin against the exact ones: the true error is within the bound."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from propensity.evaluation import binned, metrics, ranking

FIGURES = {
    binned.roc_auc: metrics.roc_auc,
    binned.average_precision: metrics.average_precision,
    binned.top_decile_lift: lambda positive, score: ranking.top_decile_lift(
        positive[:, None], score[:, None], min_positives=1
    ),
}


@st.composite
def binned_scores(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels, some positive and some not, and scores in [0, 1) whose bins are fifths; some scores tie."""
    pairs = draw(st.lists(st.tuples(st.booleans(), st.integers(0, 39)), min_size=2, max_size=60))
    positive, place = np.array([y for y, _ in pairs]), np.array([place for _, place in pairs])
    positive[:2] = True, False
    return positive, place / 40


def counts(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    bins = (score * 5).astype(int)
    return np.bincount(bins[positive], minlength=5), np.bincount(bins[~positive], minlength=5)


@settings(deadline=None, max_examples=200)
@given(binned_scores())
def test_the_error_is_within_the_bound(case) -> None:
    for figure, exact in FIGURES.items():
        result = figure(*counts(*case))
        assert abs(result.value - exact(*case)) <= result.bound + 1e-12, figure.__name__


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=2, max_size=60))
def test_ties_and_empty_bins_cost_the_auc_and_the_lift_nothing(pairs) -> None:
    positive, place = np.array([y for y, _ in pairs]), np.array([place for _, place in pairs])
    positive[:2] = True, False
    tied = place / 5 + 0.1
    for figure in (binned.roc_auc, binned.top_decile_lift):
        assert figure(*counts(positive, tied)).value == pytest.approx(FIGURES[figure](positive, tied), abs=1e-12)


@pytest.mark.parametrize(("best", "auc"), [(True, 1), (False, 0)])
def test_a_sorted_bin_reaches_the_auc_bound(best, auc) -> None:
    positive = np.arange(20) < 8
    score = 0.1 - np.arange(20) / 1000 * (1 if best else -1)
    result = binned.roc_auc(*counts(positive, score))
    assert (result.value, result.bound) == (0.5, 0.5)
    assert metrics.roc_auc(positive, score) == auc


@pytest.mark.parametrize("best", [True, False])
def test_a_sorted_bin_nears_the_average_precision_bound(best) -> None:
    positive = np.arange(20) < 8
    score = 0.1 - np.arange(20) / 1000 * (1 if best else -1)
    result = binned.average_precision(*counts(positive, score))
    error = metrics.average_precision(positive, score) - result.value
    assert abs(error) <= result.bound
    assert (error > 0) is best
    assert abs(error) > 0.1
    if best:  # the farther one
        assert error == pytest.approx(result.bound)


def test_one_pair_a_bin_is_exact() -> None:
    generator = np.random.default_rng(7)
    positive, score = generator.random(500) < 0.3, generator.permutation(500) / 500
    hits, misses = np.zeros(500, dtype=np.int64), np.zeros(500, dtype=np.int64)
    np.add.at(hits, (score[positive] * 500).round().astype(int), 1)
    np.add.at(misses, (score[~positive] * 500).round().astype(int), 1)
    for figure, exact in FIGURES.items():
        result = figure(hits, misses)
        assert result.value == pytest.approx(exact(positive, score))
        assert result.bound == pytest.approx(0, abs=1e-3)  # the worst order is bounded by a logarithm


def test_mixed_bins_are_taken_as_mixed() -> None:
    # Scores that say nothing beyond their bin: neither a tie nor any one order is the expected figure.
    generator = np.random.default_rng(7)
    score = generator.random(20_000)
    positive = generator.random(20_000) < (score * 5).astype(int) / 10 + 0.01
    result = binned.average_precision(*counts(positive, score))
    assert result.value == pytest.approx(metrics.average_precision(positive, score), abs=0.01)
    assert result.bound > 0.1


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_bins_keep_the_order_and_the_clipping_edge(probabilities) -> None:
    rising = np.sort(np.array(probabilities))
    bins = binned.bin_of(rising)
    assert (np.diff(bins) >= 0).all()
    assert ((bins >= 0) & (bins < binned.N_BINS)).all()
    # Half a bin around the edge at which the metrics clip is left to rounding.
    low, high = np.clip(rising, 1e-300, 1) < 0.999e-5, rising > 1.001e-5
    assert (bins[low] < binned.OUTER_BINS).all()
    assert (bins[high] >= binned.OUTER_BINS).all()


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-6, 1e-4, 0.01, 0.3]), st.integers(1, 400))
def test_equal_mass_calibration_error_is_within_its_bound(seed, width, n_pairs) -> None:
    generator = np.random.default_rng(seed)
    probability = np.minimum(generator.choice([0.0, 1e-6, 0.01, 0.2, 0.7]) + width * generator.random(n_pairs), 1.0)
    positive = generator.random(n_pairs) < 0.4
    bins, clipped = binned.bin_of(probability), metrics.clip(probability)
    sums = [
        np.bincount(bins[chosen], weights, binned.N_BINS)
        for weights, chosen in (
            (None, positive),
            (None, ~positive),
            (clipped[positive], positive),
            (clipped[~positive], ~positive),
        )
    ]
    result = binned.equal_mass_calibration_error(*sums)
    exact = metrics.expected_calibration_error(positive[None], probability[None], bins="equal_mass")
    assert abs(result.value - exact) <= result.bound + 1e-12


def test_what_is_not_defined_is_not_a_number() -> None:
    none, some = np.zeros(5, dtype=np.int64), np.ones(5, dtype=np.int64)
    assert math.isnan(binned.roc_auc(none, some).value)
    assert math.isnan(binned.roc_auc(some, none).bound)
    assert math.isnan(binned.average_precision(none, some).value)
    assert math.isnan(binned.top_decile_lift(none, some).value)
    nothing = np.zeros(binned.N_BINS)
    assert math.isnan(binned.equal_mass_calibration_error(nothing, nothing, nothing, nothing).value)
