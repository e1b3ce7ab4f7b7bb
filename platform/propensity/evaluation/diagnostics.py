"""What a model report draws: reliability, gains and lift, score distributions, and a table of categories."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.special import expit, logit

from propensity.errors import InputError
from propensity.evaluation.gains import gains_curve, lift_per_decile, macro_gains, pooled_gains
from propensity.evaluation.metrics import CLIP, average_precision, clip, pair_losses, roc_auc
from propensity.evaluation.pairs import Pairs
from propensity.evaluation.ranking import list_figures
from propensity.evaluation.reliability import reliability_curve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

SCORE_BIN_WIDTH: Final = 0.5
"""Width of the score histogram's bins, in nats of log-odds."""


@dataclass(frozen=True)
class Diagnostics:
    """Curves, distributions and per-category figures of one model on one window.

    Everything is int, float, str, lists and dicts. A segment is "all", "repeat" or "explore"; a figure that
    isn't defined on its pairs is NaN.

    Attributes:
        reliability: Segment -> {"equal_width": bins, "equal_mass": bins}; a bin is a dict of `low`, `high`,
            `pairs`, `mean_probability` and `positive_share`, see `reliability.ReliabilityBin`. Bins without a
            pair are left out.
        segment_gains: Segment -> {"macro": curve, "pooled": curve}; a curve is 11 points (share of customers or
            pairs, share of their positives) from (0, 0) to (1, 1). Macro is the mean over categories with at
            least 20 positives in the segment.
        segment_lift: Segment -> {"macro": lifts, "pooled": lifts}, 10 deciles each, best first: the decile's
            share of positives over that of all.
        top_lists: Segment -> one dict a k, of `k`, `ndcg`, `recall` and `precision`.
        per_category: One dict a category in column order: `category`, `pairs` (customers), `support`
            (positives), `base_rate`, `mean_propensity`, `roc_auc`, `average_precision`, `log_loss` (nats) and
            `top_decile_lift`. Small supports are shown too: the reader decides what is noise.
        score_histogram: Bins of half a nat of log-odds over the clipped probabilities of all pairs, rising:
            dicts of `low`, `high`, `positives`, `negatives`.
    """

    reliability: dict[str, dict[str, list[dict[str, float]]]]
    segment_gains: dict[str, dict[str, list[list[float]]]]
    segment_lift: dict[str, dict[str, list[float]]]
    top_lists: dict[str, list[dict[str, float]]]
    per_category: list[dict[str, Any]]
    score_histogram: list[dict[str, float]]

    @property
    def gains(self) -> list[list[float]]:
        """The macro cumulative gains over all pairs: 11 points (share of customers, share of positives)."""
        return self.segment_gains["all"]["macro"]

    @property
    def lift_per_decile(self) -> list[float]:
        """The macro lift of each decile of customers over all pairs, best first; 10 figures."""
        return self.segment_lift["all"]["macro"]

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, `gains` and `lift_per_decile`, ready for JSON: what isn't defined is None."""
        fields = {**vars(self), "gains": self.gains, "lift_per_decile": self.lift_per_decile}
        nested: dict[str, Any] = _replaced(fields, is_old=_is_nan, new=None)
        return nested

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Diagnostics:
        """Read what `to_dict` returned."""
        whole = _replaced(fields, is_old=lambda value: value is None, new=math.nan)
        return cls(**{name: whole[name] for name in cls.__dataclass_fields__})


def diagnose(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, repeat: npt.ArrayLike, categories: Sequence[str]
) -> Diagnostics:
    """Compute the diagnostics of one model; 2,452 x 301 pairs take about a second.

    Args:
        labels: bool or class, (n_customers, n_categories).
        probabilities: Probability of a positive label in [0, 1], (n_customers, n_categories).
        repeat: Whether the pair is one of the repeat segment, bool, (n_customers, n_categories).
        categories: Names in column order, (n_categories,).

    Raises:
        InputError: Shapes differ, or a probability is not a number in [0, 1].
    """
    pairs = Pairs.of(labels, probabilities)
    if len(categories) != pairs.positive.shape[1]:
        raise InputError(f"There are {len(categories)} category names for {pairs.positive.shape[1]} columns.")
    repeated = Pairs.of(labels, probabilities, repeat).mask
    assert repeated is not None
    reliability, gains, lift, lists = {}, {}, {}, {}
    for segment, mask in (("all", None), ("repeat", repeated), ("explore", ~repeated)):
        arrays = (pairs.positive, pairs.probability, mask)
        reliability[segment] = {
            "equal_width": [each.to_dict() for each in reliability_curve(*arrays, bins="equal_width")],
            "equal_mass": [each.to_dict() for each in reliability_curve(*arrays, bins="equal_mass")],
        }
        curves = {"macro": macro_gains(*arrays), "pooled": pooled_gains(*arrays)}
        gains[segment] = {name: curve_points(curve) for name, curve in curves.items()}
        lift[segment] = {name: lift_per_decile(curve).tolist() for name, curve in curves.items()}
        lists[segment] = [{"k": k, **figures} for k, figures in list_figures(*arrays).items()]
    return Diagnostics(
        reliability=reliability,
        segment_gains=gains,
        segment_lift=lift,
        top_lists=lists,
        per_category=[_category(pairs, column, name) for column, name in enumerate(categories)],
        score_histogram=_score_histogram(pairs),
    )


def curve_points(curve: npt.NDArray[np.float64]) -> list[list[float]]:
    """Return gains, (11,), as points (share of customers, share of positives)."""
    return [[decile / 10, float(share)] for decile, share in enumerate(curve)]


def score_edges() -> npt.NDArray[np.float64]:
    """Return the edges of the score histogram's bins, rising, as probabilities, float64, (n_bins + 1,)."""
    end = math.ceil(float(logit(1 - CLIP)) / SCORE_BIN_WIDTH)
    return np.asarray(expit(np.arange(-end, end + 1) * SCORE_BIN_WIDTH), dtype=np.float64)


def _category(pairs: Pairs, column: int, name: str) -> dict[str, Any]:
    positive, probability = pairs.category(column)
    losses = pair_losses(positive, probability)
    return {
        "category": name,
        "pairs": len(positive),
        "support": int(np.count_nonzero(positive)),
        "base_rate": _mean(positive),
        "mean_propensity": _mean(probability),
        "roc_auc": roc_auc(positive, probability),
        "average_precision": average_precision(positive, probability),
        "log_loss": _mean(losses),
        "top_decile_lift": float(lift_per_decile(gains_curve(positive, probability))[0]),
    }


def _score_histogram(pairs: Pairs) -> list[dict[str, float]]:
    positive, probability = pairs.flat()
    edges = score_edges()
    bin_of_pair = np.searchsorted(edges[1:-1], clip(probability), side="left")
    positives = np.bincount(bin_of_pair, weights=positive, minlength=len(edges) - 1)
    total = np.bincount(bin_of_pair, minlength=len(edges) - 1)
    return [
        {"low": float(low), "high": float(high), "positives": int(hits), "negatives": int(every - hits)}
        for low, high, hits, every in zip(edges[:-1], edges[1:], positives, total, strict=True)
    ]


def _mean(values: npt.NDArray[Any]) -> float:
    return float(values.mean(dtype=np.float64)) if len(values) else math.nan


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _replaced(value: Any, *, is_old: Callable[[Any], bool], new: float | None) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(inner, is_old=is_old, new=new) for key, inner in value.items()}
    if isinstance(value, list):
        return [_replaced(inner, is_old=is_old, new=new) for inner in value]
    return new if is_old(value) else value
