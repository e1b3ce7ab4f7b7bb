"""Quality of probabilities, pair by pair: log loss, Brier score, calibration error, ROC AUC, average precision.

Every function takes dense arrays (n_customers, n_categories), `labels` as bool or class and `probabilities`
in [0, 1], and an optional bool `mask` of the same shape that chooses the pairs to count (repeat, explore).
Memory is a few float64 copies of the pairs: 738 thousand pairs take some 20 MB, 200 million some 5 GB. A
figure that isn't defined on the pairs (no pair, no positive, no negative) is NaN. Wrong shapes, NaN and
values outside [0, 1] raise InputError.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from propensity.evaluation.pairs import MIN_POSITIVES, Pairs

if TYPE_CHECKING:
    import numpy.typing as npt

CLIP: Final = 1e-5
"""Probabilities are clipped to [CLIP, 1 - CLIP] before log loss, Brier score and calibration error."""

ECE_BINS: Final = 15

BinKind = Literal["equal_width", "equal_mass"]


def log_loss(labels: npt.ArrayLike, probabilities: npt.ArrayLike, mask: npt.ArrayLike | None = None) -> float:
    """Return the mean negative log likelihood of the pairs, in nats, after clipping.

    Args:
        labels: bool or class, (n_customers, n_categories).
        probabilities: Probability of a positive label, (n_customers, n_categories).
        mask: Pairs to count, bool, (n_customers, n_categories).
    """
    positive, probability = Pairs.of(labels, probabilities, mask).flat()
    return _mean(pair_losses(positive, probability))


def pair_losses(positive: npt.NDArray[np.bool_], probability: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Return each pair's negative log likelihood in nats after clipping, float64, in `positive`'s shape."""
    clipped = clip(probability)
    return -np.log(np.where(positive, clipped, 1 - clipped))


def brier(labels: npt.ArrayLike, probabilities: npt.ArrayLike, mask: npt.ArrayLike | None = None) -> float:
    """Return the mean squared difference of probability and label, after clipping (Brier 1950).

    Args:
        labels: bool or class, (n_customers, n_categories).
        probabilities: Probability of a positive label, (n_customers, n_categories).
        mask: Pairs to count, bool, (n_customers, n_categories).
    """
    positive, probability = Pairs.of(labels, probabilities, mask).flat()
    return _mean((clip(probability) - positive) ** 2)


def expected_calibration_error(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    mask: npt.ArrayLike | None = None,
    *,
    bins: BinKind = "equal_width",
    n_bins: int = ECE_BINS,
) -> float:
    """Return the mean gap between probability and share of positives over bins, weighted by their pairs.

    Bins are closed on the right, as in Guo et al. 2017, "On Calibration of Modern Neural Networks", section
    2. Equal mass: bin m ends at the smallest probability that at least m / n_bins of the pairs don't
    exceed. Equal probabilities always share a bin, so the figure doesn't depend on the order of rows, and a
    bin may be larger than its share.

    Args:
        labels: bool or class, (n_customers, n_categories).
        probabilities: Probability of a positive label, (n_customers, n_categories).
        mask: Pairs to count, bool, (n_customers, n_categories).
        bins: `equal_width` on [0, 1], or `equal_mass`.
        n_bins: Number of bins.
    """
    positive, probability = Pairs.of(labels, probabilities, mask).flat()
    if not len(positive):
        return math.nan
    clipped = clip(probability)
    bin_of_pair = np.searchsorted(calibration_edges(clipped, bins, n_bins), clipped, side="left")
    gap = np.bincount(bin_of_pair, weights=clipped - positive, minlength=n_bins)
    return float(np.abs(gap).sum() / len(positive))


def calibration_edges(
    clipped: npt.NDArray[np.float64], bins: BinKind = "equal_width", n_bins: int = ECE_BINS
) -> npt.NDArray[np.float64]:
    """Return the inner right edges of the calibration error's bins, rising, float64, (n_bins - 1,).

    Args:
        clipped: Probabilities as `clip` returns them, (n_pairs,), at least one where the mass is to be equal.
        bins: `equal_width` or `equal_mass`, see `expected_calibration_error`.
        n_bins: Number of bins.
    """
    if bins == "equal_width":
        return np.linspace(0, 1, n_bins + 1)[1:-1]
    # Whole numbers, not np.quantile: its rounding would move ties at an edge to the next bin.
    ranks = -(-np.arange(1, n_bins) * len(clipped) // n_bins)
    return np.asarray(np.sort(clipped)[ranks - 1])


def micro_auc(labels: npt.ArrayLike, probabilities: npt.ArrayLike, mask: npt.ArrayLike | None = None) -> float:
    """Return the ROC AUC over all pairs pooled; a tie of a positive and a negative counts half.

    Args:
        labels: bool or class, (n_customers, n_categories).
        probabilities: Anything in [0, 1] that ranks the pairs, (n_customers, n_categories).
        mask: Pairs to count, bool, (n_customers, n_categories).
    """
    return roc_auc(*Pairs.of(labels, probabilities, mask).flat())


def macro_auc(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    mask: npt.ArrayLike | None = None,
    *,
    min_positives: int = MIN_POSITIVES,
) -> float:
    """Return the mean over categories of the ROC AUC over customers.

    Args:
        labels: bool or class, (n_customers, n_categories).
        probabilities: Anything in [0, 1] that ranks the customers of a category, (n_customers, n_categories).
        mask: Pairs to count, bool, (n_customers, n_categories).
        min_positives: Positives a category needs among the pairs that count, to count itself.
    """
    return _macro(roc_auc, Pairs.of(labels, probabilities, mask), min_positives)


def micro_average_precision(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, mask: npt.ArrayLike | None = None
) -> float:
    """Return the average precision over all pairs pooled, see `average_precision`.

    Args:
        labels: bool or class, (n_customers, n_categories).
        probabilities: Anything in [0, 1] that ranks the pairs, (n_customers, n_categories).
        mask: Pairs to count, bool, (n_customers, n_categories).
    """
    return average_precision(*Pairs.of(labels, probabilities, mask).flat())


def macro_average_precision(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    mask: npt.ArrayLike | None = None,
    *,
    min_positives: int = MIN_POSITIVES,
) -> float:
    """Return the mean over categories of the average precision over customers.

    Args:
        labels: bool or class, (n_customers, n_categories).
        probabilities: Anything in [0, 1] that ranks the customers of a category, (n_customers, n_categories).
        mask: Pairs to count, bool, (n_customers, n_categories).
        min_positives: Positives a category needs among the pairs that count, to count itself.
    """
    return _macro(average_precision, Pairs.of(labels, probabilities, mask), min_positives)


def roc_auc(positive: npt.NDArray[np.bool_], score: npt.NDArray[np.floating[Any]]) -> float:
    """Return the ROC AUC of one ranking, both (n,): the Mann-Whitney U statistic, ties count half.

    Source: Hanley and McNeil 1982, "The meaning and use of the area under a ROC curve". NaN without a
    positive or without a negative.
    """
    hits, misses = np.sort(score[positive]), np.sort(score[~positive])
    if not len(hits) or not len(misses):
        return math.nan
    below, up_to = np.searchsorted(misses, hits, side="left"), np.searchsorted(misses, hits, side="right")
    return (int(below.sum()) + int(up_to.sum())) / 2 / (len(hits) * len(misses))


def average_precision(positive: npt.NDArray[np.bool_], score: npt.NDArray[np.floating[Any]]) -> float:
    """Return the average precision of one ranking, both (n,): mean over positives of the precision at their score.

    The precision at a score counts all pairs that score at least as much, so ties don't depend on the order
    of rows. Source: Manning, Raghavan and Schütze 2008, "Introduction to Information Retrieval", section 8.4,
    without interpolation. NaN without a positive.
    """
    hits, misses = np.sort(score[positive]), np.sort(score[~positive])
    found = len(hits) - np.searchsorted(hits, hits, side="left")
    passed = len(misses) - np.searchsorted(misses, hits, side="left")
    return _mean(found / (found + passed))


def clip(probability: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Return probabilities, any shape, within [CLIP, 1 - CLIP] as float64."""
    # In float64: float32 has no 1 - 1e-5 exactly, and the sums below need the digits.
    return np.clip(probability.astype(np.float64), CLIP, 1 - CLIP)


def _macro(
    figure: Callable[[npt.NDArray[np.bool_], npt.NDArray[np.floating[Any]]], float], pairs: Pairs, min_positives: int
) -> float:
    """Return the mean of a ranking's figure over the categories with enough positives."""
    columns = pairs.macro_categories(min_positives)
    return _mean(np.array([figure(*pairs.category(column)) for column in columns]))


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else math.nan
