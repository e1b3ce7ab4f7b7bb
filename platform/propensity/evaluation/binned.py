"""Figures of a ranking of which only counts per bin of score are known, each with a bound on its error.

Pairs of a bin are taken as tied or evenly mixed. What the figure would be if they were not is bounded by the worst
and the best order inside the bins, so the bound holds whatever the scores were; it is computed from the same counts.
The true error is usually far smaller, because a bin's positives and negatives are mixed, not sorted.

Bins are equally wide in log-odds, which is where propensities spread out: `bin_of`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.special import expit, logit

from propensity.evaluation.gains import gains_of_counts
from propensity.evaluation.metrics import CLIP, ECE_BINS

if TYPE_CHECKING:
    import numpy.typing as npt

END: Final = float(logit(1 - CLIP))
"""Log-odds at which the metrics clip, 11.5 nats; an edge of the bins, as the calibration error needs it."""

N_BINS: Final = 1 << 16
OUTER_BINS: Final = N_BINS // 8
"""Bins beyond either end: the AUC ranks what the log loss clips. Beyond 2e-7 everything shares a bin."""

BIN_WIDTH: Final = 2 * END / (N_BINS - 2 * OUTER_BINS)
"""In nats of log-odds: 4.7e-4, so neighbours in a bin differ by 0.05 % of their odds."""

_FOLDED: Final = np.clip(np.arange(N_BINS), OUTER_BINS, N_BINS - OUTER_BINS - 1)
"""The bins with those that the metrics clip put to the last that they don't."""


@dataclass(frozen=True)
class Bounded:
    """A figure and what its error can't exceed.

    Attributes:
        value: The figure; NaN where it isn't defined.
        bound: Bounds |value - the figure of the exact scores|; NaN where the value is.
    """

    value: float
    bound: float


def bin_of(probability: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.int32]:
    """Return the bin of each probability in [0, 1], any shape, 0..N_BINS - 1, rising with it."""
    position = (logit(probability.astype(np.float64)) + END) / BIN_WIDTH + OUTER_BINS
    return np.asarray(np.clip(position, 0, N_BINS - 1), dtype=np.int32)


def upper_edge(bins: npt.NDArray[np.number[Any]]) -> npt.NDArray[np.float64]:
    """Return the probability at which each bin ends, any shape."""
    return np.asarray(expit((bins + 1 - OUTER_BINS) * BIN_WIDTH - END), dtype=np.float64)


def roc_auc(positives: npt.NDArray[np.int64], negatives: npt.NDArray[np.int64]) -> Bounded:
    """Return `metrics.roc_auc` of counts per rising bin, each (n_bins,).

    The bound is half the share of unlike pairs that share a bin: each of them counts half and may be worth 0
    or 1.
    """
    unlike = float(positives.sum()) * float(negatives.sum())
    if not unlike:
        return Bounded(math.nan, math.nan)
    up_to = np.cumsum(negatives)
    won = positives @ (up_to - negatives / 2)
    tied = positives.astype(np.float64) @ negatives
    return Bounded(float(won / unlike), float(tied / 2 / unlike))


def average_precision(positives: npt.NDArray[np.int64], negatives: npt.NDArray[np.int64]) -> Bounded:
    """Return `metrics.average_precision` of counts per rising bin, each (n_bins,).

    The value takes a bin's pairs as evenly mixed, not as tied: a tie puts every negative of the bin above each of
    its positives, which is 0.002 too low for wide bins. With P positives and N negatives above a bin of p and n,
    a positive at the share t of the bin has P + 1 + t (p - 1) positives down to itself and N + t n negatives, and
    the mean of its precision over t has a closed form.

    At best a bin's positives are tied above its negatives. At worst they come one by one below them: the sum
    over i = 1..p of (P + i) / (P + i + M) with M = N + n. Since 1 / x is convex, that is at least
    p - M log((c + p) / c) with c = P + M + 1/2.
    """
    total = int(positives.sum())
    if not total:
        return Bounded(math.nan, math.nan)
    filled = np.flatnonzero(positives)[::-1]
    falling = positives[filled].astype(np.float64)
    hits = np.cumsum(falling)
    inside = negatives[filled].astype(np.float64)
    passed = (negatives.sum() - np.cumsum(negatives))[filled] + inside
    value = falling @ _mean_ratio(hits - falling + 1, falling - 1, hits - falling + 1 + passed - inside, inside)
    best = falling @ (hits / (hits + passed - inside))
    worst = total - passed @ np.log1p(falling / (hits - falling + passed + 0.5))
    return Bounded(float(value / total), float(max(best - value, value - worst) / total))


def _mean_ratio(
    a: npt.NDArray[np.float64], u: npt.NDArray[np.float64], b: npt.NDArray[np.float64], n: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the integral over t in [0, 1] of (a + u t) / (b + (u + n) t), with 0 < a <= b."""
    v = u + n
    slope = np.divide(u, v, out=np.zeros_like(u), where=v > 0)
    # log(1 + x) / x times 1 / b, which is 1 / b where nothing grows.
    growth = np.divide(np.log1p(v / b), v, out=1 / b, where=v > 0)
    return np.asarray(slope + (a - slope * b) * growth)


def top_decile_lift(positives: npt.NDArray[np.int64], negatives: npt.NDArray[np.int64]) -> Bounded:
    """Return the lift of the best tenth, see `ranking.top_decile_lift`, of counts per rising bin, each (n_bins,).

    Only the bin at the edge of the tenth is uncertain: its positives may all be among those that fit in, or
    none that needn't.
    """
    total = int(positives.sum())
    if not total:
        return Bounded(math.nan, math.nan)
    hits, pairs = positives[::-1], (positives + negatives)[::-1]
    value = float(gains_of_counts(hits, pairs)[1] * 10)
    reached = np.cumsum(pairs)
    edge = int(np.searchsorted(reached, reached[-1] / 10, side="left"))
    room = float(reached[-1] / 10 - (reached[edge] - pairs[edge]))
    most, least = min(float(hits[edge]), room), max(0.0, room - float(pairs[edge] - hits[edge]))
    taken = room * float(hits[edge] / pairs[edge])
    return Bounded(value, max(most - taken, taken - least) / total * 10)


def equal_mass_calibration_error(
    positives: npt.NDArray[np.int64],
    negatives: npt.NDArray[np.int64],
    positive_total: npt.NDArray[np.float64],
    negative_total: npt.NDArray[np.float64],
) -> Bounded:
    """Return `metrics.expected_calibration_error` with bins of equal mass, of sums over the N_BINS bins.

    An edge between two of its 15 groups lies inside one bin here; the whole bin goes to the lower group. Each
    pair that goes there wrongly moves |probability - label| from one group's gap to another's, so the bound is
    twice the sum of these over the bins with an edge, as a share of all pairs.

    Args:
        positives: Positives of each bin, (N_BINS,).
        negatives: Negatives of each bin, (N_BINS,).
        positive_total: Sum of the positives' clipped probabilities, (N_BINS,).
        negative_total: Sum of the negatives' clipped probabilities, (N_BINS,).
    """
    n_pairs = int(positives.sum() + negatives.sum())
    if not n_pairs:
        return Bounded(math.nan, math.nan)
    ends, group = equal_mass_groups(positives + negatives)
    gaps = np.bincount(group, weights=positive_total + negative_total - positives, minlength=ECE_BINS)
    movable = np.bincount(_FOLDED, weights=negative_total + positives - positive_total)[np.unique(ends)]
    return Bounded(float(np.abs(gaps).sum() / n_pairs), float(2 * movable.sum() / n_pairs))


def equal_mass_groups(pairs: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the last bin of each group but the last, (ECE_BINS - 1,), and the group of each bin, (N_BINS,).

    A group ends with the first bin at which it and those before hold their share of all pairs. All that the
    metrics clip is in one group, as they take it as tied.

    Args:
        pairs: Pairs of each bin, (N_BINS,), at least one.
    """
    reached = np.cumsum(np.bincount(_FOLDED, weights=pairs)).astype(np.int64)
    ends = np.searchsorted(reached, -(-np.arange(1, ECE_BINS) * reached[-1] // ECE_BINS), side="left")
    return ends, np.searchsorted(ends, _FOLDED, side="left")
