from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from propensity.errors import InputError
from propensity.evaluation.cross_fitting import cross_fitted, half_of
from propensity.models.calibration import Calibration
from propensity.scoring.scorer import Scorer
from tests.training.planted import examples, fitted


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_customers_own_half_teaches_its_calibration_nothing(n_classes):
    model, window = fitted(n_classes).model, examples(200, 1, 9, n_classes)
    second = half_of(window.customer_id)
    assert 60 < second.sum() < 140
    before = cross_fitted(model, window)
    flipped = window.labels.toarray()
    flipped[second] = flipped[second] == 0
    after = cross_fitted(model, dataclasses.replace(window, labels=csr_matrix(flipped)))
    np.testing.assert_array_equal(before[second], after[second])
    assert np.abs(before[~second] - after[~second]).mean() > 0.1


def test_each_half_has_the_other_halfs_calibration():
    """A net that is certain of too much: halving its margins is what the calibration of either half finds."""
    model, window = fitted().model, examples(400, 1, 9)
    identity = Calibration.identity(2, len(model.encoder.categories))
    loud = dataclasses.replace(model, nets=tuple(map(dict, model.nets)), calibration=identity)
    scores = cross_fitted(loud, window)
    own = Scorer(model).score_examples(window)
    # The model's calibration was fitted on a draw like this one, so the cross-fitted scores are near its own.
    assert np.abs(scores - own).max() < 0.1
    assert scores.shape == own.shape == window.labels.shape


def test_the_split_is_by_name_alone():
    ids = np.array([f"c{number}" for number in range(1000)], object)
    order = np.random.default_rng(1).permutation(1000)
    np.testing.assert_array_equal(half_of(ids)[order], half_of(ids[order]))
    assert 400 < half_of(ids).sum() < 600


def test_labels_are_needed():
    with pytest.raises(InputError, match="labels build"):
        cross_fitted(fitted().model, dataclasses.replace(examples(20, 1, 9), labels=None))
