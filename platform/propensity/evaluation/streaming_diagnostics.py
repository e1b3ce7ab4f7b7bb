"""The diagnostics of a window that was evaluated in blocks, from its sums and histograms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from propensity.errors import InputError
from propensity.evaluation import binned
from propensity.evaluation.diagnostics import Diagnostics, curve_points, score_edges
from propensity.evaluation.gains import N_DECILES, gains_of_counts, lift_per_decile
from propensity.evaluation.metrics import ECE_BINS, calibration_edges
from propensity.evaluation.ranking import LIST_LENGTHS
from propensity.evaluation.reliability import bins_of_sums
from propensity.evaluation.window_sums import KINDS, WindowSums, share

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


def diagnose_sums(sums: WindowSums, categories: Sequence[str]) -> Diagnostics:
    """Return the diagnostics of a window of which only sums are known.

    Exact: the reliability of equal-width bins, the top lists, and each category's counts, mean propensity and
    log loss. From bins of log-odds, so with the errors that `StreamingEvaluation.bounds` states: the reliability of
    equal-mass bins, gains, lift and each category's ranking figures. The score histogram's edges are moved by up
    to 5e-4 nats.

    Args:
        sums: The window's.
        categories: Names in column order, (n_categories,).

    Raises:
        InputError: There aren't as many names as categories.
    """
    if len(categories) != sums.n_categories:
        raise InputError(f"There are {len(categories)} category names for {sums.n_categories} columns.")
    gains = {segment: _gains(sums, segment) for segment in KINDS}
    return Diagnostics(
        reliability={segment: _reliability(sums, segment) for segment in KINDS},
        segment_gains={
            segment: {name: curve_points(curve) for name, curve in curves.items()} for segment, curves in gains.items()
        },
        segment_lift={
            segment: {name: lift_per_decile(curve).tolist() for name, curve in curves.items()}
            for segment, curves in gains.items()
        },
        top_lists={segment: [{"k": k, **sums.lists[segment].at(k)} for k in LIST_LENGTHS] for segment in KINDS},
        per_category=[_category(sums, column, name) for column, name in enumerate(categories)],
        score_histogram=_score_histogram(sums),
    )


def _reliability(sums: WindowSums, segment: str) -> dict[str, list[dict[str, float]]]:
    kinds = list(KINDS[segment])
    width = bins_of_sums(
        calibration_edges(np.zeros(0)),
        sums.width_pairs[kinds].sum(axis=0),
        sums.width_probability[kinds].sum(axis=0),
        sums.width_pairs[kinds[1::2]].sum(axis=0),
    )
    positives, negatives = sums.bins(segment)
    mass = []
    if int(positives.sum() + negatives.sum()):
        ends, group = binned.equal_mass_groups(positives + negatives)
        totals = (positives + negatives, sum(sums.bin_probabilities(segment)), positives)
        mass = bins_of_sums(
            binned.upper_edge(ends), *(np.bincount(group, weights=total, minlength=ECE_BINS) for total in totals)
        )
    return {
        "equal_width": [each.to_dict() for each in width],
        "equal_mass": [each.to_dict() for each in mass],
    }


def _gains(sums: WindowSums, segment: str) -> dict[str, npt.NDArray[np.float64]]:
    pooled = _curve(*sums.bins(segment))
    curves = [_curve(*sums.category_bins(segment, column)) for column in sums.macro_categories(segment)]
    return {"macro": np.mean(curves, axis=0) if curves else np.full(N_DECILES + 1, np.nan), "pooled": pooled}


def _curve(positives: npt.NDArray[np.int64], negatives: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return gains_of_counts(positives[::-1], (positives + negatives)[::-1])


def _category(sums: WindowSums, column: int, name: str) -> dict[str, Any]:
    positives, negatives = sums.category_bins("all", column)
    support = int(positives.sum())
    return {
        "category": name,
        "pairs": sums.households,
        "support": support,
        "base_rate": share(support, sums.households),
        "mean_propensity": share(float(sums.category_probability[column]), sums.households),
        "roc_auc": binned.roc_auc(positives, negatives).value,
        "average_precision": binned.average_precision(positives, negatives).value,
        "log_loss": share(float(sums.category_loss[column]), sums.households),
        "top_decile_lift": binned.top_decile_lift(positives, negatives).value,
    }


def _score_histogram(sums: WindowSums) -> list[dict[str, float]]:
    edges = score_edges()
    positives, negatives = sums.bins("all")
    place = np.searchsorted(edges[1:-1], binned.upper_edge(np.arange(binned.N_BINS) - 0.5), side="left")
    hits, misses = (np.bincount(place, weights=each, minlength=len(edges) - 1) for each in (positives, negatives))
    return [
        {"low": float(low), "high": float(high), "positives": int(positive), "negatives": int(negative)}
        for low, high, positive, negative in zip(edges[:-1], edges[1:], hits, misses, strict=True)
    ]
