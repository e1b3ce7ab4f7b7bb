"""Fits the calibration on the validation window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.optimize import minimize

from propensity.models.calibration import Calibration

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.models.encoded_rows import EncodedRows
    from propensity.models.model import Model

CALIBRATION_PAIRS: Final = 4_000_000
"""Pairs used for a calibration at most; rows beyond are left out evenly."""
RIDGE = 1e-4
"""Pull of slope and intercept to (1, 0), per pair: it settles what a small window can't."""


def evenly(n_rows: int, n_categories: int) -> npt.NDArray[np.int64]:
    """Return the rows that a calibration is fitted on: CALIBRATION_PAIRS pairs at most, the rest left out evenly."""
    return np.arange(0, n_rows, -(-n_rows * n_categories // CALIBRATION_PAIRS) or 1)


def calibrate(
    model: Model,
    rows: EncodedRows,
    prior: npt.NDArray[np.float32],
    as_of_position: npt.NDArray[np.int32],
    labels: npt.NDArray[np.int8],
) -> tuple[Calibration, npt.NDArray[np.float32]]:
    """Fit a calibration of a model's margins on these rows; return it and the margins, calibrated by it.

    Args:
        model: Its own calibration isn't used.
        rows: Encoded by the model's encoder.
        prior: Log-odds of popularity, (n_as_of, n_categories).
        as_of_position: Row's position in `prior`, (n_rows,).
        labels: Classes in the model's columns, (n_rows, n_categories).
    """
    margins = np.concatenate(list(model.margins(rows, prior, as_of_position)))
    seen = np.zeros(labels.shape, bool)
    seen[rows.pair_row, rows.pair_position] = True
    calibration = fit_calibration(margins, labels, seen)
    return calibration, calibration.apply(margins, rows.pair_row, rows.pair_position)


def fit_calibration(
    margins: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int8],
    seen: npt.NDArray[np.bool_],
) -> Calibration:
    """Fit slope and intercept per class above 0, apart for unseen and seen pairs, by minimal log loss.

    The loss is convex; L-BFGS starts from the identity. A group without pairs keeps the identity.

    Args:
        margins: Log-odds against class 0, (n_rows, K - 1, n_categories).
        labels: Classes, (n_rows, n_categories).
        seen: Pairs with a history of their own, (n_rows, n_categories).
    """
    identity = Calibration.identity(margins.shape[1] + 1)
    slope, intercept = identity.slope, identity.intercept
    by_pair = np.moveaxis(margins, 1, 2)
    for group, mask in enumerate((~seen, seen)):
        if mask.any():
            slope[group], intercept[group] = _fit_group(by_pair[mask].astype(np.float64), labels[mask])
    return Calibration(slope, intercept)


def _fit_group(margins: npt.NDArray[np.float64], labels: npt.NDArray[np.int8]) -> tuple[Any, Any]:
    """Fit one group: margins (n_pairs, K - 1), labels (n_pairs,)."""
    width = margins.shape[1]
    classes = (labels[:, None] == np.arange(1, width + 1)).astype(np.float64)
    start = np.concatenate((np.ones(width), np.zeros(width)))

    def loss(parameters: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        scaled = margins * parameters[:width] + parameters[width:]
        # log(1 + sum exp) over the classes, class 0's margin being 0
        top = np.maximum(scaled.max(axis=1), 0.0)
        exped = np.exp(scaled - top[:, None])
        total = np.exp(-top) + exped.sum(axis=1)
        error = exped / total[:, None] - classes
        away = parameters - start
        value = (np.log(total) + top - (scaled * classes).sum(axis=1)).mean() + RIDGE * (away @ away)
        gradient = np.concatenate(((error * margins).mean(axis=0), error.mean(axis=0)))
        return float(value), gradient + 2 * RIDGE * away

    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200, "ftol": 1e-12, "gtol": 1e-8})
    return found.x[:width], found.x[width:]
