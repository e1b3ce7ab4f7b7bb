"""Reliability curves: beside each probability a model gives, the share of positives that came."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from propensity.evaluation.metrics import ECE_BINS, BinKind, calibration_edges, clip
from propensity.evaluation.pairs import Pairs

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class ReliabilityBin:
    """The pairs whose probability is in one bin.

    Attributes:
        low: Left edge of the bin, outside it.
        high: Right edge, inside it.
        pairs: Pairs in it, above 0.
        mean_probability: Mean of their probabilities, clipped as in the metrics.
        positive_share: Share of positives.
    """

    low: float
    high: float
    pairs: int
    mean_probability: float
    positive_share: float

    def to_dict(self) -> dict[str, float]:
        """Return the figures by name, ready for JSON."""
        return asdict(self)


def reliability_curve(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    mask: npt.ArrayLike | None = None,
    *,
    bins: BinKind = "equal_width",
    n_bins: int = ECE_BINS,
) -> list[ReliabilityBin]:
    """Return the bins of the expected calibration error that hold a pair, by rising probability.

    The mean of |mean_probability - positive_share|, weighted by `pairs`, is the expected calibration error of
    the same `bins`. Source: DeGroot and Fienberg 1983, "The Comparison and Evaluation of Forecasters".

    Args:
        labels: bool or class, (n_customers, n_categories).
        probabilities: Probability of a positive label, (n_customers, n_categories).
        mask: Pairs to count, bool, (n_customers, n_categories).
        bins: `equal_width` on [0, 1], or `equal_mass`; see `metrics.expected_calibration_error`.
        n_bins: Number of bins.
    """
    positive, probability = Pairs.of(labels, probabilities, mask).flat()
    if not len(positive):
        return []
    clipped = clip(probability)
    inner = calibration_edges(clipped, bins, n_bins)
    bin_of_pair = np.searchsorted(inner, clipped, side="left")
    pairs = np.bincount(bin_of_pair, minlength=n_bins)
    total = np.bincount(bin_of_pair, weights=clipped, minlength=n_bins)
    positives = np.bincount(bin_of_pair, weights=positive, minlength=n_bins)
    return bins_of_sums(inner, pairs, total, positives)


def bins_of_sums(
    inner: npt.NDArray[np.float64],
    pairs: npt.NDArray[np.number[Any]],
    total: npt.NDArray[np.number[Any]],
    positives: npt.NDArray[np.number[Any]],
) -> list[ReliabilityBin]:
    """Return the bins that hold a pair, from sums over their pairs.

    Args:
        inner: Right edges of all bins but the last, rising, (n_bins - 1,).
        pairs: Pairs of each bin, (n_bins,).
        total: Sum of their clipped probabilities, (n_bins,).
        positives: Positives among them, (n_bins,).
    """
    edges = np.concatenate(([0.0], inner, [1.0]))
    return [
        ReliabilityBin(
            low=float(edges[number]),
            high=float(edges[number + 1]),
            pairs=int(pairs[number]),
            mean_probability=float(total[number] / pairs[number]),
            positive_share=float(positives[number] / pairs[number]),
        )
        for number in np.flatnonzero(pairs)
    ]
