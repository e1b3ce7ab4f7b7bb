"""Fits the calibration on the validation window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize

from propensity.models.calibration import Calibration

if TYPE_CHECKING:
    import numpy.typing as npt

RIDGE = 1e-4
"""Pull of slope and intercept to (1, 0), per pair: it settles what a small window can't."""


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
