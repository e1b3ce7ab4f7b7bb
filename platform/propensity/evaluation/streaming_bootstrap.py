"""Intervals for the difference between two models on a window that comes in blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from propensity.errors import InputError
from propensity.evaluation.bootstrap import WEIGHTS_AT_ONCE, Interval, checked_figures, interval_of_draws
from propensity.evaluation.pairs import Pairs
from propensity.evaluation.resampling import ADDITIVE
from propensity.evaluation.streaming import PAIRS_AT_ONCE, dense_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt
    from scipy.sparse import csr_matrix

LINEAR_FIGURES: Final = tuple(ADDITIVE)
"""What `StreamingDifferences` knows: figures that follow from sums over households."""


class StreamingDifferences:
    """One model's figures minus another's, with paired bootstrap intervals, over households that come in blocks.

    As `bootstrap.differences`, but how often a household is drawn is Poisson distributed with mean 1 and
    independent of the others, which is what drawing with replacement tends to with many households and needs no
    knowledge of their number. Source: Chamandy, Muralidharan, Najmi and Naidu 2012, "Estimating Uncertainty for
    Massive Data Streams". Memory is a few sums a draw, whatever the number of customers, beside the temporary
    arrays of `update`, some 150 MB. The AUCs and average precisions aren't here, for they are no sums over
    households: compare those on a sample with `bootstrap.differences`.
    """

    def __init__(
        self,
        *,
        figures: Sequence[str] = LINEAR_FIGURES,
        level: float = 0.95,
        resamples: int = 1000,
        seed: int = 7,
    ) -> None:
        """Begin without a household.

        Args:
            figures: Names out of LINEAR_FIGURES.
            level: Share of resamples inside the interval.
            resamples: Number of draws.
            seed: The same seed gives the same intervals, if the households come in the same order; the size
                of blocks doesn't matter.

        Raises:
            InputError: A figure isn't one of these, `level` isn't in (0, 1) or `resamples` is below 1.
        """
        checked_figures(figures, ADDITIVE, level, resamples)
        self._figures, self._level, self._resamples = tuple(figures), level, resamples
        self._generator = np.random.default_rng(seed)
        self._sums: dict[tuple[str, int], npt.NDArray[np.float64]] = {}
        self._combine: dict[str, Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]] = {}

    def update(
        self,
        labels: npt.ArrayLike | csr_matrix,
        probabilities: npt.ArrayLike,
        other_probabilities: npt.ArrayLike,
        mask: npt.ArrayLike | csr_matrix | None = None,
    ) -> None:
        """Add some households, none of which was added before.

        Args:
            labels: bool or class, dense or CSR, (n_households, n_categories).
            probabilities: The first model's, dense, (n_households, n_categories).
            other_probabilities: The second model's, same shape.
            mask: Pairs to count, bool, dense or CSR, same shape.

        Raises:
            InputError: Shapes differ, or a probability is not a number in [0, 1]. The households before the
                faulty ones of the block may have been added.
        """
        first, second = np.asarray(probabilities), np.asarray(other_probabilities)
        shapes = {first.shape, second.shape, np.shape(labels), first.shape if mask is None else np.shape(mask)}
        if len(shapes) != 1 or first.ndim != 2:
            raise InputError(f"A block's arrays must share one shape (n_households, n_categories), not {shapes}.")
        at_once = max(1, min(PAIRS_AT_ONCE // max(1, first.shape[1]), WEIGHTS_AT_ONCE // self._resamples))
        for start in range(0, len(first), at_once):
            rows = slice(start, start + at_once)
            label, counted = dense_rows(labels, rows), None if mask is None else dense_rows(mask, rows)
            self._add(Pairs.of(label, first[rows], counted), Pairs.of(label, second[rows], counted))

    def result(self) -> dict[str, Interval]:
        """Return the differences of the households added so far; NaN where a figure isn't defined."""
        return {name: self._interval(name) for name in self._figures}

    def _add(self, *models: Pairs) -> None:
        n_households = len(models[0].positive)
        weights = np.empty((n_households, 1 + self._resamples))
        # The first draw is the households as they are.
        weights[:, 0] = 1
        weights[:, 1:] = self._generator.poisson(1.0, (n_households, self._resamples))
        for name in self._figures:
            for number, pairs in enumerate(models):
                prepared = ADDITIVE[name](pairs)
                self._combine[name] = prepared.figure
                known: Any = self._sums.get((name, number), 0)
                self._sums[name, number] = known + prepared.terms @ weights

    def _interval(self, name: str) -> Interval:
        if name not in self._combine:
            return Interval(np.nan, np.nan, np.nan)
        figure, other = (self._combine[name](self._sums[name, number]) for number in (0, 1))
        difference = figure - other
        return interval_of_draws(float(difference[0]), difference[1:], self._level)
