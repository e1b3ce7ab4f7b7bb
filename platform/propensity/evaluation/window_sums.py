"""What an evaluation in blocks keeps of the customers it has seen: sums and histograms, no customer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from propensity.evaluation import binned
from propensity.evaluation.metrics import ECE_BINS, calibration_edges, clip, pair_losses
from propensity.evaluation.pairs import MIN_POSITIVES, Pairs
from propensity.evaluation.ranking import LIST_LENGTHS, TopLists

if TYPE_CHECKING:
    import numpy.typing as npt

CATEGORY_BINS: Final = 1024
"""Bins of log-odds a category, each 64 of `binned`'s: 0.03 nats."""

CATEGORIES_AT_ONCE: Final = 64
"""Their histograms fit into the processor's cache together."""

KINDS: Final = {"all": (0, 1, 2, 3), "repeat": (2, 3), "explore": (0, 1)}
"""The kinds of pairs in each segment; a kind is 2 * repeat + positive, so odd ones are positives."""


class WindowSums:
    """Sums and histograms over the pairs of a window, by kind: repeat or not, positive or not.

    Attributes:
        n_categories: Columns of every block.
        households: Customers seen.
        pairs: Pairs of each kind in each bin of `binned`, int64, (4, binned.N_BINS).
        probability: Sum of their clipped probabilities, float64, same shape.
        width_pairs: Pairs of each kind in each calibration bin of equal width, int64, (4, ECE_BINS).
        width_probability: Sum of their clipped probabilities, float64, same shape.
        of_category: Pairs of each category and kind in coarser bins, int32, (n_categories, 4, CATEGORY_BINS).
        category_probability: Sum of each category's probabilities, not clipped, float64, (n_categories,).
        category_loss: Sum of its pairs' losses in nats, float64, (n_categories,).
        loss: Sum of the losses of each kind, float64, (4,).
        square: Sum of their squared errors, float64, (4,).
        lists: Sums over the customers' top lists, by segment.
    """

    def __init__(self, n_categories: int, propensity: npt.NDArray[np.float64] | None) -> None:
        """Begin without a customer; `propensity` is that of labels, (n_categories,), see `ListSums`."""
        self.n_categories = n_categories
        self.households = 0
        self.pairs = np.zeros((4, binned.N_BINS), dtype=np.int64)
        self.probability = np.zeros((4, binned.N_BINS))
        self.width_pairs = np.zeros((4, ECE_BINS), dtype=np.int64)
        self.width_probability = np.zeros((4, ECE_BINS))
        # A cell can't hold more than the customers, so int32 lasts for two thousand million of them.
        self.of_category = np.zeros((n_categories, 4, CATEGORY_BINS), dtype=np.int32)
        self.category_probability, self.category_loss = np.zeros(n_categories), np.zeros(n_categories)
        self.loss, self.square = np.zeros(4), np.zeros(4)
        self.lists = {segment: ListSums(propensity) for segment in KINDS}

    def add(self, block: Pairs) -> None:
        """Add the pairs of some customers; the block's mask is the repeat segment."""
        repeat = block.mask
        assert repeat is not None
        positive, probability = block.positive, block.probability
        clipped, losses = clip(probability), pair_losses(positive, probability)
        bins, kind = binned.bin_of(probability), 2 * repeat + positive.astype(np.int32)
        width = np.searchsorted(calibration_edges(clipped), clipped, side="left")
        self.households += len(positive)
        _count(self.pairs, kind * binned.N_BINS + bins)
        _count(self.probability, kind * binned.N_BINS + bins, clipped)
        _count(self.width_pairs, kind * ECE_BINS + width)
        _count(self.width_probability, kind * ECE_BINS + width, clipped)
        _count(self.loss, kind, losses)
        _count(self.square, kind, (clipped - positive) ** 2)
        self.category_probability += probability.sum(axis=0, dtype=np.float64)
        self.category_loss += losses.sum(axis=0)
        coarse = kind * CATEGORY_BINS + bins // (binned.N_BINS // CATEGORY_BINS)
        for first in range(0, self.n_categories, CATEGORIES_AT_ONCE):
            some = coarse[:, first : first + CATEGORIES_AT_ONCE]
            cells = some + np.arange(some.shape[1]) * (4 * CATEGORY_BINS)
            _count(self.of_category[first : first + CATEGORIES_AT_ONCE], cells)
        for segment, mask in (("all", None), ("repeat", repeat), ("explore", ~repeat)):
            self.lists[segment].add(TopLists.of(Pairs(positive, probability, mask), max(LIST_LENGTHS)))

    def bins(self, segment: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return positives and negatives of a segment per rising bin, each (binned.N_BINS,)."""
        negative, positive = _by_label(segment)
        return self.pairs[positive].sum(axis=0), self.pairs[negative].sum(axis=0)

    def bin_probabilities(self, segment: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the sums of the positives' and negatives' clipped probabilities, each (binned.N_BINS,)."""
        negative, positive = _by_label(segment)
        return self.probability[positive].sum(axis=0), self.probability[negative].sum(axis=0)

    def category_bins(self, segment: str, column: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return positives and negatives of a category in a segment per rising bin, each (CATEGORY_BINS,)."""
        negative, positive = _by_label(segment)
        counts = self.of_category[column].astype(np.int64)
        return counts[positive].sum(axis=0), counts[negative].sum(axis=0)

    def macro_categories(self, segment: str) -> npt.NDArray[np.intp]:
        """Return the columns that count in macro figures, see `Pairs.macro_categories`."""
        pairs = self.of_category.sum(axis=2, dtype=np.int64)[:, list(KINDS[segment])]
        positives = pairs[:, 1::2].sum(axis=1)
        return np.flatnonzero((positives >= MIN_POSITIVES) & (positives < pairs.sum(axis=1)))

    @property
    def nbytes(self) -> int:
        """Size of all arrays in bytes: it follows from the number of categories alone."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, np.ndarray))


class ListSums:
    """Sums of the ranking figures over the customers of one segment who have a positive.

    Attributes:
        customers: How many these are.
        sums: NDCG, recall and precision, by k and name.
        propensity: Chance that a true label of each category is seen, (n_categories,); None if it isn't known.
        reached: Hits among the first 10 by 1 / propensity.
        best: The most that lists of 10 can reach.
    """

    def __init__(self, propensity: npt.NDArray[np.float64] | None) -> None:
        """Begin without a customer."""
        self.customers = 0
        self.sums = {k: {"ndcg": 0.0, "recall": 0.0, "precision": 0.0} for k in LIST_LENGTHS}
        self.propensity = propensity
        self.reached = self.best = 0.0

    def add(self, longest: TopLists) -> None:
        """Add the lists of some customers, of at least the largest k."""
        self.customers += len(longest.customers)
        for k, sums in self.sums.items():
            lists = longest.first(k)
            sums["ndcg"] += float(lists.customer_ndcg().sum())
            sums["recall"] += float(lists.customer_recall().sum())
            sums["precision"] += float(lists.customer_precision().sum())
        if self.propensity is not None:
            reached, best = longest.first(10).propensity_scored_hits(self.propensity)
            self.reached += reached
            self.best += best

    def at(self, k: int) -> dict[str, float]:
        """Return the means at k, one of LIST_LENGTHS, by name; NaN without a customer."""
        return {name: share(total, self.customers) for name, total in self.sums[k].items()}

    def propensity_scored_precision(self) -> float:
        """Return it at 10; NaN without propensities or hits to reach."""
        return share(self.reached, self.best)


def share(part: float, whole: float) -> float:
    """Return part / whole, NaN of nothing."""
    return part / whole if whole else math.nan


def _by_label(segment: str) -> tuple[list[int], list[int]]:
    """Return the segment's kinds of negatives, and of positives."""
    return list(KINDS[segment][::2]), list(KINDS[segment][1::2])


def _count(
    cells: npt.NDArray[np.int64] | npt.NDArray[np.int32] | npt.NDArray[np.float64],
    cell_of_pair: npt.NDArray[np.integer[Any]],
    weights: npt.NDArray[np.float64] | None = None,
) -> None:
    """Add each pair, or its weight, to its cell, counted through `cells` in C order."""
    flat = None if weights is None else weights.ravel()
    cells += np.bincount(cell_of_pair.ravel(), flat, cells.size).reshape(cells.shape)
