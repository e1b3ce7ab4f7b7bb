"""Fits the calibration on the validation window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.optimize import minimize

from propensity.models.calibration import Calibration
from propensity.training.threads import threads_in_use

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.models.encoded_rows import EncodedRows
    from propensity.models.model import Model

CALIBRATION_PAIRS: Final = 4_000_000
"""Pairs used for a calibration at most; rows beyond are left out evenly."""
RIDGE: Final = 1e-4
"""Pull of slope and intercept to (1, 0), per pair: it settles what a small window can't."""
OFFSET_SD: Final = 0.1
"""Standard deviation of the categories' offsets, in log-odds: what pools them. A rare category stays near 0."""
LASTING: Final = 0.2
"""Share of an offset taken to last: most of what a category sells more or less of in one month passes with it, and the
net that is kept learns from that month too. Measured in docs/evaluation.md."""


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
    margins = np.concatenate(list(model.forward.margins(rows, prior, as_of_position, threads_in_use())))
    seen = np.zeros(labels.shape, bool)
    seen[rows.pair_row, rows.pair_position] = True
    calibration = fit_calibration(margins, labels, seen)
    return calibration, calibration.apply(margins, rows.pair_row, rows.pair_position)


def fit_calibration(
    margins: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int8],
    seen: npt.NDArray[np.bool_],
) -> Calibration:
    """Fit slope and intercept per class above 0, apart for unseen and seen pairs, by minimal log loss; then offsets.

    A category's offset is LASTING times the one of highest posterior density under a normal prior of mean 0 and
    standard deviation OFFSET_SD. Both losses are convex; L-BFGS starts from the identity. A group without pairs keeps
    the identity.

    Args:
        margins: Log-odds against class 0, (n_rows, K - 1, n_categories).
        labels: Classes, (n_rows, n_categories).
        seen: Pairs with a history of their own, (n_rows, n_categories).
    """
    found = Calibration.identity(margins.shape[1] + 1, margins.shape[2])
    by_pair = np.moveaxis(margins, 1, 2)
    for group, mask in enumerate((~seen, seen)):
        if mask.any():
            in_group, given = by_pair[mask].astype(np.float64), labels[mask]
            found.slope[group], found.intercept[group] = _fit_group(in_group, given)
            scaled = in_group * found.slope[group] + found.intercept[group]
            found.offset[group] = LASTING * _fit_offsets(scaled, given, np.nonzero(mask)[1], margins.shape[2])
    return found


def _fit_group(margins: npt.NDArray[np.float64], labels: npt.NDArray[np.int8]) -> tuple[Any, Any]:
    """Fit one group's slope and intercept: margins (n_pairs, K - 1), labels (n_pairs,)."""
    width = margins.shape[1]
    start = np.concatenate((np.ones(width), np.zeros(width)))

    def loss(parameters: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        value, error = _log_loss(margins * parameters[:width] + parameters[width:], labels)
        away = parameters - start
        gradient = np.concatenate(((error * margins).mean(axis=0), error.mean(axis=0)))
        return value / len(labels) + RIDGE * float(away @ away), gradient + 2 * RIDGE * away

    found = _minimise(loss, start)
    return found[:width], found[width:]


def _fit_offsets(
    margins: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int8],
    category: npt.NDArray[np.int64],
    n_categories: int,
) -> npt.NDArray[np.float64]:
    """Fit one group's offsets, (K - 1, n_categories): margins (n_pairs, K - 1), labels and category (n_pairs,)."""
    width = margins.shape[1]

    def loss(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        offset = flat.reshape(width, n_categories)
        value, error = _log_loss(margins + offset.T[category], labels)
        summed = [np.bincount(category, weights=error[:, k], minlength=n_categories) for k in range(width)]
        gradient = np.stack(summed) + offset / OFFSET_SD**2
        value += float(np.sum(offset**2)) / (2 * OFFSET_SD**2)
        return value / len(labels), gradient.ravel() / len(labels)

    found: npt.NDArray[np.float64] = _minimise(loss, np.zeros(width * n_categories)).reshape(width, n_categories)
    return found


def _log_loss(margins: npt.NDArray[np.float64], labels: npt.NDArray[np.int8]) -> tuple[float, npt.NDArray[np.float64]]:
    """Return the summed log loss and its gradient by the margins, both (n_pairs, K - 1)."""
    classes = labels[:, None] == np.arange(1, margins.shape[1] + 1)
    # log(1 + sum exp) over the classes, class 0's margin being 0
    top = np.maximum(margins.max(axis=1), 0.0)
    exped = np.exp(margins - top[:, None])
    total = np.exp(-top) + exped.sum(axis=1)
    value = (np.log(total) + top).sum() - margins[classes].sum()
    return float(value), exped / total[:, None] - classes


def _minimise(loss: Any, start: npt.NDArray[np.float64]) -> Any:
    options = {"maxiter": 200, "ftol": 1e-12, "gtol": 1e-8}
    return minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x
