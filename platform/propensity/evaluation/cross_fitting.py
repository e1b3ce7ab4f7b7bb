"""A net's propensities on a window it was not trained on, with a calibration that has not seen the customer.

The validation window is where a net's calibration is fitted, so its figures there would be flattered. Cross-fitting
(Chernozhukov et al. 2018, "Double/debiased machine learning", section 1) fits it on one half of the customers and
applies it to the other, both ways round.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.sparse import csr_matrix

from propensity.errors import InputError
from propensity.models.calibration import Calibration
from propensity.scoring.scorer import Scorer
from propensity.training.calibration import fit_calibration

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.models.model import Model
    from propensity.training.examples import Examples

CALIBRATION_PAIRS: Final = 4_000_000
"""Pairs a half's calibration is fitted on at most; rows beyond are left out evenly."""


def cross_fitted(model: Model, window: Examples) -> npt.NDArray[np.float32]:
    """Return propensities, float32, (n_examples, n_categories of the model), each by the other half's calibration.

    Args:
        model: Its own calibration isn't used.
        window: Rows with labels of one as_of.

    Raises:
        InputError: The window has no labels.
    """
    second_half = half_of(window.customer_id)
    scores = np.empty((len(window), len(model.encoder.categories)), np.float32)
    for half in (second_half, ~second_half):
        calibrated = replace(model, calibration=_calibration(model, _rows(window, ~half)))
        scores[half] = Scorer(calibrated).score_examples(_rows(window, half))
    return scores


def half_of(customer_id: npt.NDArray[np.object_]) -> npt.NDArray[np.bool_]:
    """Return which customers are in the second half, bool, (n_examples,): by their id alone, so the same every time."""
    return np.array([zlib.crc32(str(customer).encode()) & 1 for customer in customer_id], bool)


def _calibration(model: Model, rows: Examples) -> Calibration:
    """Fit a calibration of the model's margins; the identity where there are no rows."""
    if rows.labels is None:
        raise InputError("Cross-fitting needs labels. Build them: propensity labels build --as-of DATE")
    if not len(rows):
        return Calibration.identity(model.n_classes)
    step = -(-len(rows) * len(model.encoder.categories) // CALIBRATION_PAIRS)
    kept = _rows(rows, np.arange(len(rows)) % step == 0)
    encoded = model.encoder.transform(kept.features)
    prior = model.encoder.prior(kept.popularity)
    margins = np.concatenate(list(model.margins(encoded, prior, kept.as_of_position)))
    labels = _labels(kept.labels, model.encoder.category_index)
    seen = np.zeros(labels.shape, bool)
    seen[encoded.pair_row, encoded.pair_position] = True
    return fit_calibration(margins, labels, seen)


def _labels(stored: Any, category_index: npt.NDArray[np.int32]) -> npt.NDArray[np.int8]:
    """Return labels in the model's columns, dense; a category that the window lacks has none."""
    width = max(stored.shape[1], int(category_index[-1]) + 1)
    widened = csr_matrix((stored.data, stored.indices, stored.indptr), shape=(stored.shape[0], width))
    dense: npt.NDArray[np.int8] = widened[:, category_index].toarray()
    return dense


def _rows(examples: Examples, keep: npt.NDArray[np.bool_]) -> Examples:
    return replace(
        examples,
        customer_id=examples.customer_id[keep],
        as_of_position=examples.as_of_position[keep],
        features=examples.features[keep],
        labels=None if examples.labels is None else examples.labels[keep],
    )
