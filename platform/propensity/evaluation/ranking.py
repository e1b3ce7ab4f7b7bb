"""Quality of rankings: each customer's list of categories, and each category's list of customers.

Arguments, memory and errors are those of `propensity.evaluation.metrics`. Lists of categories are ranked by
falling probability, equal ones by rising category index, over the pairs that count; customers without a
positive among these pairs are left out. NaN where nobody is left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from propensity.errors import InputError
from propensity.evaluation.gains import gains_curve
from propensity.evaluation.pairs import MIN_POSITIVES, Pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

LIST_LENGTHS: Final = (1, 3, 5, 10, 20)
"""The k that are usually asked for."""

PROPENSITY_A: Final = 0.55
PROPENSITY_B: Final = 1.5


@dataclass(frozen=True)
class TopLists:
    """The first k categories of every customer who has a positive among the pairs that count.

    Attributes:
        categories: Columns in rank order, int64, (n_customers_with_positive, min(k, n_categories)).
        hits: Whether the pair at that rank counts and is positive, same shape, bool.
        n_positives: Positives among the customer's pairs that count, int64, (n_customers_with_positive,).
        positive: All positives that count, bool, (n_customers_with_positive, n_categories).
        customers: Row of each of these customers in the pairs, int64, (n_customers_with_positive,).
        k: Length that was asked for.
    """

    categories: npt.NDArray[np.intp]
    hits: npt.NDArray[np.bool_]
    n_positives: npt.NDArray[np.int64]
    positive: npt.NDArray[np.bool_]
    customers: npt.NDArray[np.intp]
    k: int

    @classmethod
    def of(cls, pairs: Pairs, k: int) -> TopLists:
        """Rank the categories of each customer; memory is a few arrays as large as `pairs`.

        Raises:
            InputError: k is below 1.
        """
        if k < 1:
            raise InputError(f"k must be at least 1, not {k}.")
        counted = pairs.counted_positive()
        customers = np.flatnonzero(counted.any(axis=1))
        descending = -pairs.probability[customers]
        if pairs.mask is not None:
            descending[~pairs.mask[customers]] = np.inf
        categories = _smallest(descending, k)
        positive = counted[customers]
        hits = np.take_along_axis(positive, categories, axis=1)
        return cls(categories, hits, positive.sum(axis=1, dtype=np.int64), positive, customers, k)

    def first(self, k: int) -> TopLists:
        """Return the lists cut to their first k, without another sort.

        Raises:
            InputError: k is below 1 or above this list's.
        """
        if not 1 <= k <= self.k:
            raise InputError(f"Lists of {self.k} can be cut to 1..{self.k}, not {k}.")
        return TopLists(self.categories[:, :k], self.hits[:, :k], self.n_positives, self.positive, self.customers, k)

    def ndcg(self) -> float:
        """Return the mean normalised discounted cumulative gain (Järvelin and Kekäläinen 2002), binary gains.

        DCG = sum of 1 / log2(rank + 1) over hits; the ideal list has min(k, positives) hits at its top.
        """
        return _mean(self.customer_ndcg())

    def recall(self) -> float:
        """Return the mean share of a customer's positives that are in the list."""
        return _mean(self.customer_recall())

    def precision(self) -> float:
        """Return the mean of hits / k; also where fewer than k pairs count."""
        return _mean(self.customer_precision())

    def propensity_scored_precision(self, propensity: npt.NDArray[np.float64]) -> float:
        """Return precision with hits weighted by 1 / propensity, as a share of what the best lists reach.

        Args:
            propensity: Chance that a true label of the category is seen, in (0, 1], (n_categories,); see
                `label_propensity`.
        """
        reached, best = self.propensity_scored_hits(propensity)
        return reached / best if best else math.nan

    def customer_ndcg(self) -> npt.NDArray[np.float64]:
        """Return each customer's NDCG@k, float64, (n_customers_with_positive,); see `ndcg`."""
        discount = 1 / np.log2(np.arange(2, self.categories.shape[1] + 2))
        ideal = np.cumsum(discount)
        if not len(self.hits):  # an index of an empty ideal fails where there is no category
            return np.zeros(0)
        return np.asarray(self.hits @ discount / ideal[np.minimum(self.n_positives, len(ideal)) - 1])

    def customer_recall(self) -> npt.NDArray[np.float64]:
        """Return each customer's recall@k, float64, (n_customers_with_positive,)."""
        return np.asarray(self.hits.sum(axis=1) / self.n_positives, dtype=np.float64)

    def customer_precision(self) -> npt.NDArray[np.float64]:
        """Return each customer's precision@k, float64, (n_customers_with_positive,)."""
        return np.asarray(self.hits.sum(axis=1) / self.k, dtype=np.float64)

    def propensity_scored_hits(self, propensity: npt.NDArray[np.float64]) -> tuple[float, float]:
        """Return the sum over customers of hits weighted by 1 / propensity, and the most that lists can reach."""
        weight = 1 / propensity
        reached = float((self.hits * weight[self.categories]).sum())
        weighted = self.positive * weight
        if weighted.shape[1] > self.k:
            weighted = np.partition(weighted, -self.k, axis=1)[:, -self.k :]
        return reached, float(weighted.sum())


def ndcg(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, mask: npt.ArrayLike | None = None, *, k: int = 10
) -> float:
    """Return NDCG@k, see `TopLists.ndcg`."""
    return TopLists.of(Pairs.of(labels, probabilities, mask), k).ndcg()


def recall(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, mask: npt.ArrayLike | None = None, *, k: int = 10
) -> float:
    """Return recall@k, see `TopLists.recall`."""
    return TopLists.of(Pairs.of(labels, probabilities, mask), k).recall()


def precision(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, mask: npt.ArrayLike | None = None, *, k: int = 10
) -> float:
    """Return precision@k, see `TopLists.precision`."""
    return TopLists.of(Pairs.of(labels, probabilities, mask), k).precision()


def list_figures(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    mask: npt.ArrayLike | None = None,
    *,
    ks: Sequence[int] = LIST_LENGTHS,
) -> dict[int, dict[str, float]]:
    """Return NDCG, recall and precision at each of several k, by k, from one ranking.

    Args:
        labels: bool or class, (n_customers, n_categories).
        probabilities: Anything in [0, 1] that ranks the categories, (n_customers, n_categories).
        mask: Pairs to count, bool, (n_customers, n_categories).
        ks: Lengths of the lists, each from 1.

    Raises:
        InputError: No k, or one below 1.
    """
    if not len(ks) or min(ks) < 1:
        raise InputError(f"Lists have lengths from 1, not {list(ks)}. Give at least one.")
    longest = TopLists.of(Pairs.of(labels, probabilities, mask), max(ks))
    lists = {k: longest.first(k) for k in ks}
    return {
        k: {"ndcg": each.ndcg(), "recall": each.recall(), "precision": each.precision()} for k, each in lists.items()
    }


def propensity_scored_precision(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    mask: npt.ArrayLike | None = None,
    *,
    training_label_counts: npt.ArrayLike,
    n_training_examples: int,
    k: int = 10,
) -> float:
    """Return normalised propensity-scored precision@k: a hit in a rare category is worth more.

    Source: Jain, Prabhu and Varma 2016, "Extreme Multi-label Loss Functions for Recommendation, Tagging,
    Ranking & Other Missing Label Applications" (KDD), normalised by the best list's value as is customary.

    Args:
        labels: bool or class, (n_customers, n_categories).
        probabilities: Anything in [0, 1] that ranks the categories, (n_customers, n_categories).
        mask: Pairs to count, bool, (n_customers, n_categories).
        training_label_counts: Positives of each category in the training rows, (n_categories,).
        n_training_examples: Training rows.
        k: Length of the lists.

    Raises:
        InputError: Counts of another length, or fewer than 3 training rows.
    """
    pairs = Pairs.of(labels, probabilities, mask)
    propensity = label_propensity(training_label_counts, n_training_examples)
    if propensity.shape != pairs.positive.shape[1:]:
        raise InputError(
            f"training_label_counts have shape {propensity.shape}, but there are {pairs.positive.shape[1]} categories."
        )
    return TopLists.of(pairs, k).propensity_scored_precision(propensity)


def label_propensity(
    training_label_counts: npt.ArrayLike,
    n_training_examples: int,
    *,
    a: float = PROPENSITY_A,
    b: float = PROPENSITY_B,
) -> npt.NDArray[np.float64]:
    """Return p = 1 / (1 + C (N_l + B)^-A) with C = (ln N - 1) (B + 1)^A, float64, (n_categories,).

    Source: Jain et al. 2016, the propensity model.

    Args:
        training_label_counts: N_l, positives of each category in the training rows, (n_categories,).
        n_training_examples: N, training rows.
        a: The curve's A.
        b: The curve's B.

    Raises:
        InputError: N is below 3, where C is not positive, or a count is negative.
    """
    counts = np.asarray(training_label_counts, dtype=np.float64)
    if n_training_examples < 3 or not (counts >= 0).all():
        raise InputError(
            "Label propensities need counts from 0 and at least 3 training rows, "
            f"not {n_training_examples} rows and a smallest count of {counts.min(initial=0):g}."
        )
    c = (math.log(n_training_examples) - 1) * (b + 1) ** a
    return np.asarray(1 / (1 + c * (counts + b) ** -a), dtype=np.float64)


def top_decile_lift(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    mask: npt.ArrayLike | None = None,
    *,
    min_positives: int = MIN_POSITIVES,
) -> float:
    """Return the share of positives in the best tenth of customers over that in all, mean over categories.

    A tenth of n customers is n / 10 exactly, and customers who tie at its edge count by the fraction of them
    that fits in: the point at 10 % of the cumulative gains curve. So a model without an opinion has a lift of
    1 in whatever order the rows are.

    Args:
        labels: bool or class, (n_customers, n_categories).
        probabilities: Anything in [0, 1] that ranks the customers of a category, (n_customers, n_categories).
        mask: Pairs to count, bool, (n_customers, n_categories).
        min_positives: Positives a category needs among the pairs that count, to count itself.
    """
    pairs = Pairs.of(labels, probabilities, mask)
    lifts = [gains_curve(*pairs.category(column))[1] * 10 for column in pairs.macro_categories(min_positives)]
    return _mean(np.array(lifts))


def _smallest(values: npt.NDArray[np.floating[Any]], k: int) -> npt.NDArray[np.intp]:
    """Return the columns of the k smallest values of each row, in order, equal ones by column.

    As np.argsort(values, axis=1, kind="stable")[:, :k], whose sort of whole rows takes most of an evaluation's
    time where there are thousands of columns.
    """
    if values.shape[1] <= k or not len(values):
        return np.argsort(values, axis=1, kind="stable")
    edge = np.partition(values, k - 1, axis=1)[:, k - 1 : k]
    below = values < edge
    tied = values == edge
    # Of the columns that tie at the edge, the first ones that there is room for.
    room = k - np.count_nonzero(below, axis=1)
    crowded = np.flatnonzero(np.count_nonzero(tied, axis=1) > room)
    tied[crowded] &= np.cumsum(tied[crowded], axis=1) <= room[crowded, None]
    columns = np.nonzero(below | tied)[1].reshape(len(values), k)
    order = np.argsort(np.take_along_axis(values, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else math.nan
