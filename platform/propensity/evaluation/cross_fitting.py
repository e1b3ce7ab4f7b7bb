"""A net's propensities on a window it was not trained on, with a calibration that has not seen the customer.

The validation window is where a net's calibration is fitted, so its figures there would be flattered. Cross-fitting
(Chernozhukov et al. 2018, "Double/debiased machine learning", section 1) fits it on one half of the customers and
applies it to the other, both ways round.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from propensity.errors import InputError
from propensity.models.calibration import Calibration
from propensity.scoring.scorer import Scorer
from propensity.training.calibration import calibrate, evenly

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.models.model import Model
    from propensity.training.examples import Examples


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
        return Calibration.identity(model.n_classes, len(model.encoder.categories))
    kept = _rows(rows, evenly(len(rows), len(model.encoder.categories)))
    encoder = model.encoder
    labels = encoder.labels(kept.labels).toarray()
    return calibrate(
        model, encoder.transform(kept.features), encoder.prior(kept.popularity), kept.as_of_position, labels
    )[0]


def _rows(examples: Examples, keep: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Examples:
    return replace(
        examples,
        customer_id=examples.customer_id[keep],
        as_of_position=examples.as_of_position[keep],
        features=examples.features[keep],
        labels=None if examples.labels is None else examples.labels[keep],
    )
