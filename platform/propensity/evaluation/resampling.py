"""Figures as functions of how often each household is drawn, for the bootstrap.

A draw of households with replacement is a vector of weights, so a figure needs no copy of the pairs: what
depends on the model (sums per household, the order of scores) is prepared once, and all draws are one product
with it. Weight 1 for every household gives the figure of `metrics` and `ranking` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from propensity.evaluation.evaluation import LIST_LENGTH
from propensity.evaluation.metrics import ECE_BINS, calibration_edges, clip, pair_losses
from propensity.evaluation.pairs import Pairs
from propensity.evaluation.ranking import TopLists

if TYPE_CHECKING:
    import numpy.typing as npt

    _Booleans = npt.NDArray[np.bool_]
    _Floats = npt.NDArray[np.floating[Any]]
    _Indices = npt.NDArray[np.intp]
    _Counts = npt.NDArray[np.integer[Any]]


Resampled = Callable[["npt.NDArray[np.int32]"], "npt.NDArray[np.float64]"]
"""Takes weights, (n_households, n_draws), to the figure of each draw, float64, (n_draws,); NaN where undefined."""


@dataclass(frozen=True)
class HouseholdSums:
    """A figure that follows from sums over households, so that households can be added up in any portions.

    Attributes:
        terms: What each household adds, float64, (n_terms, n_households).
        figure: Takes the terms' sums of each draw, (n_terms, n_draws), to its figure, (n_draws,); NaN where
            it isn't defined.
    """

    terms: npt.NDArray[np.float64]
    figure: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]

    def __call__(self, weights: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        """Return the figure of each draw."""
        return self.figure(self.terms @ weights)


def log_loss(pairs: Pairs) -> HouseholdSums:
    """Prepare `metrics.log_loss`."""
    return _mean_over_pairs(pairs, pair_losses(pairs.positive, pairs.probability))


def brier(pairs: Pairs) -> HouseholdSums:
    """Prepare `metrics.brier`."""
    return _mean_over_pairs(pairs, (clip(pairs.probability) - pairs.positive) ** 2)


def ece(pairs: Pairs) -> HouseholdSums:
    """Prepare `metrics.expected_calibration_error` with bins of equal width, which no draw moves."""
    clipped = clip(pairs.probability)
    gap = clipped - pairs.positive
    if pairs.mask is not None:
        gap[~pairs.mask] = 0
    n_households = len(gap)
    household = np.arange(n_households)[:, None]
    key = np.searchsorted(calibration_edges(clipped), clipped, side="left") + household * ECE_BINS
    gaps = np.bincount(key.ravel(), weights=gap.ravel(), minlength=n_households * ECE_BINS)
    terms = np.vstack([gaps.reshape(n_households, ECE_BINS).T, _pairs_of_household(pairs)])
    return HouseholdSums(terms, lambda sums: _ratio(np.abs(sums[:-1]).sum(axis=0), sums[-1]))


def ndcg_at_10(pairs: Pairs) -> HouseholdSums:
    """Prepare `ranking.ndcg`; households without a positive weigh nothing."""
    return _mean_over_lists(pairs, TopLists.customer_ndcg)


def recall_at_10(pairs: Pairs) -> HouseholdSums:
    """Prepare `ranking.recall`; households without a positive weigh nothing."""
    return _mean_over_lists(pairs, TopLists.customer_recall)


def precision_at_10(pairs: Pairs) -> HouseholdSums:
    """Prepare `ranking.precision`; households without a positive weigh nothing."""
    return _mean_over_lists(pairs, TopLists.customer_precision)


def micro_auc(pairs: Pairs) -> Resampled:
    """Prepare `metrics.micro_auc`."""
    return _pooled(pairs).auc


def micro_average_precision(pairs: Pairs) -> Resampled:
    """Prepare `metrics.micro_average_precision`."""
    return _pooled(pairs).average_precision


def macro_auc(pairs: Pairs) -> Resampled:
    """Prepare `metrics.macro_auc` over the categories that count when every household is there once."""
    return _by_category(pairs).auc


def macro_average_precision(pairs: Pairs) -> Resampled:
    """Prepare `metrics.macro_average_precision` over the categories that count when every household is there."""
    return _by_category(pairs).average_precision


ADDITIVE: Final[dict[str, Callable[[Pairs], HouseholdSums]]] = {
    "log_loss": log_loss,
    "brier": brier,
    "ece": ece,
    "ndcg_at_10": ndcg_at_10,
    "recall_at_10": recall_at_10,
    "precision_at_10": precision_at_10,
}
"""Figures that follow from sums over households, by their name in `evaluation.Segment`."""

FIGURES: Final[dict[str, Callable[[Pairs], Resampled]]] = {
    **ADDITIVE,
    "micro_auc": micro_auc,
    "macro_auc": macro_auc,
    "micro_average_precision": micro_average_precision,
    "macro_average_precision": macro_average_precision,
}
"""All figures, by the same name."""


class _Rankings:
    """One or more rankings of pairs, one after the other, sorted once so that a draw only adds up its weights.

    A positive is worth the negatives below it and half of those that tie with it; both are differences of the
    cumulated weights of negatives.

    Attributes:
        positive_household: Household of each positive, by ranking and rising score, (n_positives,).
        negative_household: The same of each negative, (n_negatives,).
        tie: Index of the first positive of its ranking with the same score, for each positive.
        below: Negatives before each positive's score, in its own and all earlier rankings.
        up_to: The same with those that tie with it.
        first_positive: Where each ranking begins among the positives, (n_rankings,).
        first_negative: Where it begins and ends among the negatives, (n_rankings + 1,).
    """

    def __init__(self, parts: Iterable[tuple[_Booleans, _Floats, _Indices]]) -> None:
        """Sort each ranking's pairs, given as label, score and household, each (n_pairs,), with some positive."""
        positives, negatives, ties, below, up_to, sizes = [], [], [], [], [], [(0, 0)]
        for positive, score, household in parts:
            n_positives, n_negatives = sizes[-1]
            hits, misses = score[positive], score[~positive]
            hit_order, miss_order = np.argsort(hits, kind="stable"), np.argsort(misses, kind="stable")
            hits, misses = hits[hit_order], misses[miss_order]
            positives.append(household[positive][hit_order])
            negatives.append(household[~positive][miss_order])
            ties.append(n_positives + np.searchsorted(hits, hits, side="left"))
            below.append(n_negatives + np.searchsorted(misses, hits, side="left"))
            up_to.append(n_negatives + np.searchsorted(misses, hits, side="right"))
            sizes.append((n_positives + len(hits), n_negatives + len(misses)))
        self.positive_household, self.negative_household = _joined(positives), _joined(negatives)
        self.tie, self.below, self.up_to = _joined(ties), _joined(below), _joined(up_to)
        bounds = np.array(sizes)
        self.first_positive, self.first_negative = bounds[:-1, 0], bounds[:, 1]

    def auc(self, weights: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        """Return each draw's ROC AUC, mean over the rankings; NaN in a draw where one has none."""
        return self._mean(weights, self._auc)

    def average_precision(self, weights: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        """Return each draw's average precision, mean over the rankings; NaN in a draw where one has none."""
        return self._mean(weights, self._average_precision)

    def _mean(
        self, weights: npt.NDArray[np.int32], figure: Callable[[_Counts, _Counts], _Floats]
    ) -> npt.NDArray[np.float64]:
        means = np.full(weights.shape[1], np.nan)
        if not len(self.positive_household):
            return means
        misses = np.zeros(len(self.negative_household) + 1, dtype=np.int64)
        for draw, weight in enumerate(np.ascontiguousarray(weights.T)):
            np.cumsum(weight[self.negative_household], out=misses[1:])
            means[draw] = figure(weight[self.positive_household], misses).mean()
        return means

    def _auc(self, hits: _Counts, misses: _Counts) -> _Floats:
        """Return each ranking's area from the positives' weights and the negatives' cumulated weights."""
        doubled = misses[self.below] + misses[self.up_to]
        won = np.add.reduceat(hits * doubled.astype(np.float64), self.first_positive)
        before, after = misses[self.first_negative[:-1]], misses[self.first_negative[1:]]
        weight = np.add.reduceat(hits, self.first_positive, dtype=np.float64)
        return _ratio(won / 2 - weight * before, weight * (after - before))

    def _average_precision(self, hits: _Counts, misses: _Counts) -> _Floats:
        """Return each ranking's average precision; arguments as for `_auc`."""
        cumulated = np.concatenate(([0], np.cumsum(hits, dtype=np.int64)))
        ends = np.append(self.first_positive[1:], len(hits))
        size = ends - self.first_positive
        found = np.repeat(cumulated[ends], size) - cumulated[self.tie]
        passed = np.repeat(misses[self.first_negative[1:]], size) - misses[self.below]
        # Where neither it nor anything above was drawn, there is no precision, and no weight.
        precision = found / np.maximum(found + passed, 1)
        weight = np.add.reduceat(hits, self.first_positive, dtype=np.float64)
        return _ratio(np.add.reduceat(hits * precision, self.first_positive), weight)


def _joined(parts: list[_Indices]) -> _Indices:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.intp)


def _pooled(pairs: Pairs) -> _Rankings:
    n_households, n_categories = pairs.positive.shape
    household = np.repeat(np.arange(n_households), n_categories)
    if pairs.mask is not None:
        household = household[pairs.mask.ravel()]
    return _Rankings([(*pairs.flat(), household)])


def _by_category(pairs: Pairs) -> _Rankings:
    every = np.arange(len(pairs.positive))
    return _Rankings(
        (*pairs.category(column), every if pairs.mask is None else every[pairs.mask[:, column]])
        for column in pairs.macro_categories()
    )


def _pairs_of_household(pairs: Pairs) -> npt.NDArray[np.int64]:
    if pairs.mask is None:
        return np.full(len(pairs.positive), pairs.positive.shape[1], dtype=np.int64)
    return np.asarray(pairs.mask.sum(axis=1), dtype=np.int64)


def _mean_over_pairs(pairs: Pairs, values: npt.NDArray[np.float64]) -> HouseholdSums:
    """Return the mean of a value a pair, (n_households, n_categories), over the pairs that count."""
    total = (values if pairs.mask is None else np.where(pairs.mask, values, 0)).sum(axis=1)
    return HouseholdSums(np.vstack([total, _pairs_of_household(pairs)]), _mean)


def _mean_over_lists(pairs: Pairs, figure: Callable[[TopLists], npt.NDArray[np.float64]]) -> HouseholdSums:
    """Return the mean of a value a list over the households that have one."""
    lists = TopLists.of(pairs, LIST_LENGTH)
    terms = np.zeros((2, len(pairs.positive)))
    terms[0, lists.customers], terms[1, lists.customers] = figure(lists), 1
    return HouseholdSums(terms, _mean)


def _mean(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return total / count of each draw from both, (2, n_draws)."""
    return _ratio(sums[0], sums[1])


def _ratio(
    numerator: npt.NDArray[np.floating[Any]], denominator: npt.NDArray[np.number[Any]]
) -> npt.NDArray[np.float64]:
    ratio = np.full(len(numerator), np.nan)
    np.divide(numerator, denominator, out=ratio, where=denominator > 0)
    return ratio
