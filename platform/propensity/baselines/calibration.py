"""Two small maps from a score to a probability, fitted on counts: a rising curve, and a line on log-odds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit, logit

if TYPE_CHECKING:
    import numpy.typing as npt

CLIP: Final = 1e-5
"""Shares are clipped to [CLIP, 1 - CLIP] before their log-odds are taken, as the metrics clip probabilities."""
MAX_BINS: Final = 200
PRIOR_PRECISION: Final = 1e-2


@dataclass(frozen=True)
class RisingCurve:
    """A piecewise linear, never falling map from a score to a probability; flat beyond its ends.

    Attributes:
        score: Mean score of each block of the fit, rising, float64, (n_blocks,).
        probability: Share of positives of the block, float64, (n_blocks,).
    """

    score: npt.NDArray[np.float64]
    probability: npt.NDArray[np.float64]

    def __call__(self, score: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
        """Return the probabilities of scores of any shape; the curve must have a block."""
        return np.asarray(np.interp(score, self.score, self.probability), dtype=np.float64)


def fit_rising_curve(
    score: npt.NDArray[np.floating[Any]], positive: npt.NDArray[np.bool_], *, max_bins: int = MAX_BINS
) -> RisingCurve:
    """Fit the curve by pool-adjacent-violators on bins of about equal mass.

    Scores that are equal share a bin, so a count with few distinct values has one bin a value. A bin's share
    is (positives + 1/2) / (pairs + 1), the Krichevsky-Trofimov estimate, since a few lucky pairs at the top
    would be certain otherwise. Source: Zadrozny and Elkan 2002, "Transforming Classifier Scores into Accurate
    Multiclass Probability Estimates". Between blocks the curve is linear, which keeps the ranking.

    Args:
        score: One a pair, (n_pairs,).
        positive: Whether the label is, bool, (n_pairs,).
        max_bins: Most bins.

    Returns:
        The curve; without a pair it has no block.
    """
    distinct, value_of_pair, pairs_of_value = np.unique(score, return_inverse=True, return_counts=True)
    pairs_before = np.cumsum(pairs_of_value) - pairs_of_value
    _, bin_of_value = np.unique(pairs_before * max_bins // max(len(score), 1), return_inverse=True)
    pairs = np.bincount(bin_of_value, weights=pairs_of_value)
    positives = np.bincount(bin_of_value[value_of_pair], weights=positive)
    total_score = np.bincount(bin_of_value, weights=distinct.astype(np.float64) * pairs_of_value)
    if not len(pairs):
        return RisingCurve(np.empty(0), np.empty(0))
    fit = isotonic_regression((positives + 0.5) / (pairs + 1), weights=pairs + 1)
    first = fit.blocks[:-1]
    return RisingCurve(np.add.reduceat(total_score, first) / np.add.reduceat(pairs, first), fit.x[first])


@dataclass(frozen=True)
class LogOddsLine:
    """Probability = expit(intercept + slope * logit(share)), the share clipped as in the metrics.

    Attributes:
        intercept: In nats.
        slope: 1 and an intercept of 0 leave a share as it is.
    """

    intercept: float
    slope: float

    def __call__(self, share: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
        """Return the probabilities of shares in [0, 1], any shape."""
        probability: npt.NDArray[np.float64] = expit(self.intercept + self.slope * _log_odds(share))
        return probability


def fit_log_odds_line(
    share: npt.NDArray[np.floating[Any]], positives: npt.NDArray[np.float64], pairs: npt.NDArray[np.float64]
) -> LogOddsLine:
    """Fit the line by maximum likelihood on grouped pairs (Platt 1999, with log-odds as the score).

    A weak normal prior around "the share is the probability" (precision 0.01 each) decides where the data
    don't; thousands of pairs outweigh it.

    Args:
        share: Of each group, (n_groups,).
        positives: Positive pairs of the group, (n_groups,).
        pairs: Pairs of the group, (n_groups,).
    """
    design = np.stack((np.ones(share.size), _log_odds(share)), axis=1)
    scale = max(float(pairs.sum()), 1.0)
    neutral = np.array([0.0, 1.0])

    def loss(line: npt.NDArray[np.float64]) -> float:
        odds = design @ line
        penalty = PRIOR_PRECISION / 2 * float(((line - neutral) ** 2).sum())
        return (float(pairs @ np.logaddexp(0, odds) - positives @ odds) + penalty) / scale

    def gradient(line: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        residual = pairs * expit(design @ line) - positives
        return np.asarray((design.T @ residual + PRIOR_PRECISION * (line - neutral)) / scale)

    def curvature(line: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        probability = expit(design @ line)
        weight = pairs * probability * (1 - probability)
        return np.asarray(((design.T * weight) @ design + PRIOR_PRECISION * np.eye(2)) / scale)

    fit = minimize(loss, neutral, jac=gradient, hess=curvature, method="trust-exact", options={"gtol": 1e-9})
    return LogOddsLine(float(fit.x[0]), float(fit.x[1]))


def _log_odds(share: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    odds: npt.NDArray[np.float64] = logit(np.clip(np.asarray(share, dtype=np.float64), CLIP, 1 - CLIP))
    return odds
