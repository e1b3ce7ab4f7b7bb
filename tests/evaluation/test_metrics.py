"""Metrics of pairs against scikit-learn."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn.calibration import calibration_curve

from propensity.errors import InputError
from propensity.evaluation import metrics

from .random_pairs import counted, random_pairs


@settings(deadline=None)
@given(random_pairs())
def test_log_loss_and_brier(case) -> None:
    y, p = counted(*case)
    if not len(y):
        assert math.isnan(metrics.log_loss(*case))
        assert math.isnan(metrics.brier(*case))
        return
    clipped = np.clip(p, 1e-5, 1 - 1e-5)
    assert metrics.log_loss(*case) == pytest.approx(
        sklearn.metrics.log_loss(y, clipped, labels=[False, True]), abs=1e-12
    )
    expected = sum((q - t) ** 2 for q, t in zip(clipped, y.astype(float), strict=True)) / len(y)
    assert metrics.brier(*case) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(random_pairs(), st.sampled_from(["equal_width", "equal_mass"]))
def test_expected_calibration_error(case, bins) -> None:
    y, p = counted(*case)
    figure = metrics.expected_calibration_error(*case, bins=bins)
    if not len(y):
        assert math.isnan(figure)
        return
    clipped = np.clip(p, 1e-5, 1 - 1e-5)
    if bins == "equal_width":
        edges = [m / 15 for m in range(1, 15)]
    else:
        edges = [min(v for v in clipped if 15 * sum(clipped <= v) >= m * len(clipped)) for m in range(1, 15)]
    members = defaultdict(list)
    for position, q in enumerate(clipped):
        members[sum(q > edge for edge in edges)].append(position)
    gaps = [len(bin_) * abs(y[bin_].mean() - clipped[bin_].mean()) for bin_ in members.values()]
    assert figure == pytest.approx(sum(gaps) / len(y), abs=1e-12)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_equal_width_bins_are_scikit_learns(seed) -> None:
    generator = np.random.default_rng(seed)
    p = generator.random(400)
    y = generator.random(400) < p
    shares, means = calibration_curve(y, p, n_bins=15)
    sizes = np.histogram(p, bins=15, range=(0, 1))[0]
    expected = (sizes[sizes > 0] / 400) @ np.abs(shares - means)
    assert metrics.expected_calibration_error(y[None], p[None]) == pytest.approx(expected, abs=1e-7)


def test_calibration_error_of_a_known_case() -> None:
    labels = np.array([[1, 0, 0, 1]])
    probabilities = np.array([[0.51, 0.52, 0.01, 0.9]])
    # Bins: {.51, .52} with a share of 1/2, {.01} with 0, {.9} with 1.
    expected = 2 / 4 * abs(0.515 - 0.5) + 1 / 4 * 0.01 + 1 / 4 * 0.1
    assert metrics.expected_calibration_error(labels, probabilities) == pytest.approx(expected)


@settings(deadline=None)
@given(random_pairs())
def test_micro_auc(case) -> None:
    y, p = counted(*case)
    figure = metrics.micro_auc(*case)
    if y.all() or not y.any():
        assert math.isnan(figure)
    else:
        assert figure == pytest.approx(sklearn.metrics.roc_auc_score(y, p), abs=1e-12)


@settings(deadline=None)
@given(random_pairs())
def test_macro_auc(case) -> None:
    labels, probabilities, mask = case
    figures = []
    for column in range(labels.shape[1]):
        keep = np.ones(len(labels), dtype=bool) if mask is None else mask[:, column]
        y, p = labels[keep, column], probabilities[keep, column]
        if y.sum() >= 2 and not y.all():
            figures.append(sklearn.metrics.roc_auc_score(y, p))
    figure = metrics.macro_auc(*case, min_positives=2)
    assert figure == pytest.approx(np.mean(figures), abs=1e-12) if figures else math.isnan(figure)


@settings(deadline=None)
@given(random_pairs())
def test_micro_average_precision(case) -> None:
    y, p = counted(*case)
    figure = metrics.micro_average_precision(*case)
    if y.any():
        assert figure == pytest.approx(sklearn.metrics.average_precision_score(y, p), abs=1e-12)
    else:
        assert math.isnan(figure)


@settings(deadline=None)
@given(random_pairs())
def test_macro_average_precision(case) -> None:
    labels, probabilities, mask = case
    figures = []
    for column in range(labels.shape[1]):
        keep = np.ones(len(labels), dtype=bool) if mask is None else mask[:, column]
        y, p = labels[keep, column], probabilities[keep, column]
        if y.sum() >= 2 and not y.all():
            figures.append(sklearn.metrics.average_precision_score(y, p))
    figure = metrics.macro_average_precision(*case, min_positives=2)
    assert figure == pytest.approx(np.mean(figures), abs=1e-12) if figures else math.isnan(figure)


@pytest.mark.parametrize(("positives", "counts"), [(19, False), (20, True)])
def test_a_category_counts_from_20_positives(positives, counts) -> None:
    labels = np.arange(50)[:, None] < positives
    assert math.isnan(metrics.macro_auc(labels, labels.astype(float))) is not counts
    assert math.isnan(metrics.macro_average_precision(labels, labels.astype(float))) is not counts


def test_classes_above_0_are_positive() -> None:
    labels = np.array([[0, 1, 2]])
    probabilities = np.array([[0.1, 0.8, 0.9]])
    assert metrics.log_loss(labels, probabilities) == metrics.log_loss(labels > 0, probabilities)


def test_clipping_bounds_the_loss_of_a_certain_mistake() -> None:
    assert metrics.log_loss([[True]], [[0.0]]) == pytest.approx(-math.log(1e-5))
    assert metrics.log_loss([[False]], np.ones((1, 1), np.float32)) == pytest.approx(-math.log(1e-5))


@pytest.mark.parametrize(
    ("labels", "probabilities", "mask", "message"),
    [
        (np.zeros((2, 3)), np.zeros((2, 2)), None, r"shape \(2, 3\), probabilities \(2, 2\)"),
        (np.zeros(3), np.zeros(3), None, "dense array"),
        (np.zeros((1, 2)), np.array([[0.5, np.nan]]), None, "NaN"),
        (np.zeros((1, 2)), np.array([[0.5, 1.5]]), None, "outside"),
        (np.zeros((1, 2)), np.array([[0.5, -0.1]]), None, "outside"),
        (np.zeros((1, 2)), np.zeros((1, 2)), np.ones((1, 2), dtype=int), "mask must be bool"),
        (np.zeros((1, 2)), np.zeros((1, 2)), np.ones(2, dtype=bool), "mask must be bool"),
    ],
)
def test_wrong_input_is_refused(labels, probabilities, mask, message) -> None:
    with pytest.raises(InputError, match=message):
        metrics.log_loss(labels, probabilities, mask)


def test_sparse_labels_are_refused() -> None:
    with pytest.raises(InputError, match="toarray"):
        metrics.log_loss(csr_matrix((2, 2)), np.zeros((2, 2)))
