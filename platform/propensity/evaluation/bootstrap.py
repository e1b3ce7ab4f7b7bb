"""Intervals for the difference between two models, by resampling households."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from propensity.errors import InputError
from propensity.evaluation.metrics import pair_losses
from propensity.evaluation.pairs import Pairs

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class Interval:
    """A difference and its bootstrap interval, all in nats per pair for log loss.

    Attributes:
        mean: The difference on the households as they are.
        low: Lower end of the interval.
        high: Upper end.
    """

    mean: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Return the three figures by name, ready for JSON."""
        return asdict(self)


def log_loss_difference(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    other_probabilities: npt.ArrayLike,
    mask: npt.ArrayLike | None = None,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 7,
) -> Interval:
    """Return log loss of one model minus another's, with a paired percentile bootstrap over households.

    Below zero the first model is better. Households are drawn with replacement and bring all their pairs,
    because the pairs of a household aren't independent; both models get the same draw. Source: Efron and
    Tibshirani 1993, "An Introduction to the Bootstrap". Memory is two float64 arrays as
    large as `labels`.

    Args:
        labels: bool or class, (n_customers, n_categories).
        probabilities: The first model's, (n_customers, n_categories).
        other_probabilities: The second model's, (n_customers, n_categories).
        mask: Pairs to count, bool, (n_customers, n_categories); a household without one is left out.
        level: Share of resamples inside the interval.
        resamples: Number of draws.
        seed: The same seed gives the same interval.

    Raises:
        InputError: Shapes differ, or no pair counts, `level` isn't in (0, 1) or `resamples` is below 1.
    """
    if not 0 < level < 1 or resamples < 1:
        raise InputError(f"A bootstrap needs 0 < level < 1 and resamples >= 1, not {level} and {resamples}.")
    first = Pairs.of(labels, probabilities, mask)
    second = Pairs.of(labels, other_probabilities, mask)
    difference = pair_losses(first.positive, first.probability) - pair_losses(second.positive, second.probability)
    if first.mask is None:
        n_pairs = np.full(len(difference), difference.shape[1])
    else:
        difference[~first.mask] = 0
        n_pairs = first.mask.sum(axis=1)
    counted = n_pairs > 0
    n_pairs, total = n_pairs[counted], difference.sum(axis=1)[counted]
    if not len(n_pairs):
        raise InputError("No pair counts, so there is nothing to compare. Give a mask that holds some pair.")
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    for draw in range(resamples):
        households = generator.integers(len(n_pairs), size=len(n_pairs))
        means[draw] = total[households].sum() / n_pairs[households].sum()
    tail = (1 - level) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    return Interval(math.fsum(total) / float(n_pairs.sum()), float(low), float(high))
