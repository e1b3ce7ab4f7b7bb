"""Cumulative gains and lift: how many of the positives are among the customers with the highest propensity.

Arguments, memory and errors are those of `propensity.evaluation.metrics`. Customers who tie at an edge count by
the fraction of them that fits in, so a model without an opinion has the diagonal in whatever order the rows are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from propensity.evaluation.pairs import MIN_POSITIVES, Pairs

if TYPE_CHECKING:
    import numpy.typing as npt

N_DECILES: Final = 10


def macro_gains(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    mask: npt.ArrayLike | None = None,
    *,
    min_positives: int = MIN_POSITIVES,
) -> npt.NDArray[np.float64]:
    """Return the mean over categories of their cumulative gains per decile of customers.

    Args:
        labels: bool or class, (n_customers, n_categories).
        probabilities: Anything in [0, 1] that ranks the customers of a category, (n_customers, n_categories).
        mask: Pairs to count, bool, (n_customers, n_categories).
        min_positives: Positives a category needs among the pairs that count, to count itself.

    Returns:
        Share of positives among the best 0, 10, ..., 100 % of customers, float64, (11,); NaN if no category counts.
    """
    pairs = Pairs.of(labels, probabilities, mask)
    curves = [gains_curve(*pairs.category(column)) for column in pairs.macro_categories(min_positives)]
    return np.mean(curves, axis=0) if curves else np.full(N_DECILES + 1, np.nan)


def pooled_gains(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, mask: npt.ArrayLike | None = None
) -> npt.NDArray[np.float64]:
    """Return the cumulative gains per decile of all pairs pooled, float64, (11,); NaN without a positive.

    Args:
        labels: bool or class, (n_customers, n_categories).
        probabilities: Anything in [0, 1] that ranks the pairs, (n_customers, n_categories).
        mask: Pairs to count, bool, (n_customers, n_categories).
    """
    return gains_curve(*Pairs.of(labels, probabilities, mask).flat())


def gains_curve(positive: npt.NDArray[np.bool_], score: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Return the share of positives among the best 0, 10, ..., 100 % of one ranking, float64, (11,).

    A tenth of n is n / 10 exactly, and pairs that tie at an edge count by the fraction that fits in. NaN
    without a positive.

    Args:
        positive: bool, (n,).
        score: Ranks them, (n,).
    """
    distinct, position = np.unique(score, return_inverse=True)
    pairs = np.bincount(position, minlength=len(distinct))[::-1]
    positives = np.bincount(position, weights=positive, minlength=len(distinct))[::-1]
    return gains_of_counts(positives, pairs)


def gains_of_counts(
    positives: npt.NDArray[np.number[Any]], pairs: npt.NDArray[np.integer[Any]]
) -> npt.NDArray[np.float64]:
    """Return `gains_curve` of a ranking given as counts of ties, best first.

    Args:
        positives: Positives at each score, (n_scores,).
        pairs: Pairs at each score, (n_scores,).
    """
    captured = np.concatenate(([0.0], np.cumsum(positives)))
    if not captured[-1]:
        return np.full(N_DECILES + 1, np.nan)
    reached = np.concatenate(([0], np.cumsum(pairs)))
    # Products first: n * 0.1 isn't n / 10.
    at = np.interp(reached[-1] * np.arange(N_DECILES + 1) / N_DECILES, reached, captured)
    return np.asarray(at / captured[-1], dtype=np.float64)


def lift_per_decile(gains: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return each decile's share of positives over that of all, best decile first, float64, (10,).

    Args:
        gains: Cumulative gains, (11,).
    """
    return np.diff(gains) * N_DECILES
