from __future__ import annotations

import numpy as np
import pytest

from propensity.models.calibration import Calibration, class_probabilities, propensity
from propensity.training.calibration import LASTING, OFFSET_SD, fit_calibration


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
    calibrated = Calibration.identity(n_margins + 1, 4).apply(margins, nothing, nothing)
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


@pytest.mark.parametrize("n_margins", [1, 2])
def test_a_category_gets_an_offset_of_its_own_and_a_rare_one_hardly_any(n_margins):
    rng = np.random.default_rng(3)
    n_rows, n_categories = 20_000, 6
    seen = np.zeros((n_rows, n_categories), bool)
    seen[: n_rows // 2] = True
    seen[6:, 5] = False  # the last category is rare among the seen
    true = np.zeros((2, n_margins, n_categories))
    true[0, 0, :2], true[1, 0, 0], true[1, 0, 5] = (0.15, -0.15), 0.2, 0.2
    margins = np.full((n_rows, n_margins, n_categories), -1.0, np.float32)
    shift = np.where(seen[:, None], true[1], true[0]).astype(np.float32)
    below = np.cumsum(class_probabilities(margins + shift), axis=1)
    labels = (rng.random((n_rows, 1, n_categories)) > below).sum(axis=1).astype(np.int8)
    found = fit_calibration(margins, labels, seen)
    assert found.offset.shape == (2, n_margins, n_categories)
    # What the group's intercept took, the categories' own parts have not.
    relative = found.offset / LASTING - found.offset[:, :, 2:3] / LASTING
    np.testing.assert_allclose(relative[0, 0, :2], true[0, 0, :2], atol=0.09)
    assert relative[1, 0, 0] == pytest.approx(0.2, abs=0.12)
    assert abs(found.offset[1, 0, 5]) < 0.25 * LASTING * OFFSET_SD
    assert abs(found.offset[0, 0, 0] - found.offset[0, 0, 1]) > 0.15 * LASTING


def test_the_offsets_are_those_of_highest_posterior_density():
    rng = np.random.default_rng(4)
    margins = rng.normal(-1, 1, (300, 1, 4)).astype(np.float32)
    labels = (rng.random((300, 4)) < [0.2, 0.3, 0.4, 0.1]).astype(np.int8)
    nothing = np.zeros((300, 4), bool)
    found = fit_calibration(margins, labels, nothing)
    offset = found.offset[0, 0] / LASTING
    scaled = margins[:, 0] * found.slope[0, 0] + found.intercept[0, 0] + offset
    # where the density's slope is 0: sum(label - p) = offset / variance
    residual = (labels - 1 / (1 + np.exp(-scaled.astype(np.float64)))).sum(axis=0)
    np.testing.assert_allclose(residual, offset / OFFSET_SD**2, rtol=1e-3, atol=1e-2)


def test_a_category_the_other_model_lacks_has_no_offset():
    offset = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    calibration = Calibration(np.ones((2, 2)), np.zeros((2, 2)), offset)
    moved = calibration.for_categories(["a", "b", "c"], ["c", "new", "a", "d"])
    np.testing.assert_array_equal(moved.offset[:, :, 0], offset[:, :, 2])
    np.testing.assert_array_equal(moved.offset[:, :, 2], offset[:, :, 0])
    assert not moved.offset[:, :, [1, 3]].any()


def test_seen_and_unseen_pairs_take_their_own_offsets():
    offset = np.array([[[1, 2, 3]], [[10, 20, 30]]], np.float32)
    calibration = Calibration(np.array([[1.0], [2.0]]), np.array([[0.5], [-0.5]]), offset / 10)
    margins = np.ones((2, 1, 3), np.float32)
    applied = calibration.apply(margins, np.array([0, 1]), np.array([1, 2]))
    np.testing.assert_allclose(applied[:, 0], [[1.6, 3.5, 1.8], [1.6, 1.7, 4.5]], rtol=1e-6)


def test_json_gives_it_back():
    offset = np.random.default_rng(5).normal(size=(2, 2, 3)).astype(np.float32)
    calibration = Calibration(np.array([[1.1, 0.9], [0.3, 2.0]]), np.array([[0.1, -2.0], [1 / 3, 0.0]]), offset)
    again = Calibration.from_json(calibration.to_json())
    np.testing.assert_array_equal(again.slope, calibration.slope)
    np.testing.assert_array_equal(again.intercept, calibration.intercept)
    np.testing.assert_array_equal(again.offset, calibration.offset)
    assert again.offset.dtype == np.float32
