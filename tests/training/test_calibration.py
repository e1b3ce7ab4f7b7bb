from __future__ import annotations

import numpy as np
import pytest

from propensity.models.calibration import Calibration, class_probabilities, propensity
from propensity.training.calibration import fit_calibration


def test_planted_slopes_and_intercepts_are_found_for_each_group():
    rng = np.random.default_rng(0)
    margins = rng.normal(-1, 2, (2000, 1, 50)).astype(np.float32)
    seen = rng.random((2000, 50)) < 0.4
    slope, intercept = np.where(seen, 0.8, 1.3), np.where(seen, 0.2, -0.6)
    probability = 1 / (1 + np.exp(-(slope * margins[:, 0] + intercept)))
    labels = (rng.random(probability.shape) < probability).astype(np.int8)
    found = fit_calibration(margins, labels, seen)
    np.testing.assert_allclose(found.slope[:, 0], [1.3, 0.8], atol=0.04)
    np.testing.assert_allclose(found.intercept[:, 0], [-0.6, 0.2], atol=0.04)
    calibrated = propensity(found.apply(margins, *np.nonzero(seen)))
    for group in (seen, ~seen):
        assert calibrated[group].mean() == pytest.approx(labels[group].mean(), abs=1e-3)


def test_with_three_classes_each_has_its_own_and_probabilities_sum_to_one():
    rng = np.random.default_rng(1)
    margins = rng.normal(-1, 1.5, (3000, 2, 30)).astype(np.float32)
    seen = np.ones((3000, 30), bool)
    true = class_probabilities((margins * np.array([[0.7], [1.2]]) + np.array([[0.4], [-0.3]])).astype(np.float32))
    drawn = (rng.random((3000, 1, 30)) > np.cumsum(true, axis=1)).sum(axis=1)
    found = fit_calibration(margins, drawn.astype(np.int8), seen)
    np.testing.assert_allclose(found.slope[1], [0.7, 1.2], atol=0.05)
    np.testing.assert_allclose(found.intercept[1], [0.4, -0.3], atol=0.05)
    np.testing.assert_array_equal(found.slope[0], [1, 1])  # a group without pairs stays as it is
    calibrated = class_probabilities(found.apply(margins, *np.nonzero(seen)))
    np.testing.assert_allclose(calibrated.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("n_margins", [1, 2])
@pytest.mark.parametrize("extreme", [-1e9, 1e9])
def test_a_probability_is_never_zero_or_one(n_margins, extreme):
    margins = np.full((3, n_margins, 4), extreme, np.float32)
    nothing = np.zeros(0, np.int64)
    calibrated = Calibration.identity(n_margins + 1).apply(margins, nothing, nothing)
    for probability in (propensity(calibrated), class_probabilities(calibrated)):
        assert probability.dtype == np.float32
        assert (probability > 0).all()
        assert (probability < 1).all()


@pytest.mark.parametrize("label", [0, 1])
def test_a_window_with_one_class_only_stays_finite(label):
    margins = np.random.default_rng(2).normal(size=(20, 1, 5)).astype(np.float32)
    found = fit_calibration(margins, np.full((20, 5), label, np.int8), np.zeros((20, 5), bool))
    assert np.isfinite(found.slope).all()
    assert np.isfinite(found.intercept).all()


def test_json_gives_it_back():
    calibration = Calibration(np.array([[1.1, 0.9], [0.3, 2.0]]), np.array([[0.1, -2.0], [1 / 3, 0.0]]))
    again = Calibration.from_json(calibration.to_json())
    np.testing.assert_array_equal(again.slope, calibration.slope)
    np.testing.assert_array_equal(again.intercept, calibration.intercept)
