"""How the propensities are distributed, for pairs that turned out positive and for those that didn't."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from propensity.reporting.charts.axes import Axis, logarithmic
from propensity.reporting.charts.plot import Plot
from propensity.reporting.elements import Column, Figure, Table, count, percent

if TYPE_CHECKING:
    from propensity.evaluation.diagnostics import Diagnostics

TICKS = (0.0001, 0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99, 0.999, 0.9999)


def score_distribution(diagnostics: Diagnostics) -> Figure:
    """Return the histogram of propensities; without bins that are empty at both ends."""
    bins = diagnostics.score_histogram
    held = [number for number, each in enumerate(bins) if each["positives"] + each["negatives"]]
    bins = bins[held[0] : held[-1] + 1] if held else bins
    low, high = _log_odds(bins[0]["low"]), _log_odds(bins[-1]["high"])
    ticks = tuple(_log_odds(tick) for tick in TICKS if low <= _log_odds(tick) <= high)
    x = Axis("propensity (log-odds scale)", low, high, ticks, written=lambda value: f"{_probability(value):.4g}")
    most = [max(each["positives"], each["negatives"]) for each in bins]
    pairs = sum(each["positives"] + each["negatives"] for each in bins)
    positives = sum(each["positives"] for each in bins)
    mode = max(bins, key=lambda each: each["positives"] + each["negatives"])
    plot = Plot(
        "scores-histogram",
        "Distribution of propensities",
        f"{pairs:,.0f} pairs, {positives:,.0f} of them positive; most pairs are between {mode['low']:.2g} and "
        f"{mode['high']:.2g}.",
        x,
        # A bit below 1, so that a single pair has a bar.
        replace(logarithmic("pairs (logarithmic)", [1.0, *most], floor=1.0), low=0.6),
        width=720,
        left=66,
    )
    for each in bins:
        left, right = plot.x_at(_log_odds(each["low"])), plot.x_at(_log_odds(each["high"]))
        middle = (left + right) / 2
        between = f"propensity {each['low']:.3g} to {each['high']:.3g}"
        for series, (kind, start, end) in enumerate((("negatives", left, middle), ("positives", middle, right))):
            if each[kind]:
                plot.bar(start + 0.5, end - 0.5, each[kind], series, f"{between}: {each[kind]:,.0f} {kind}")
    for series, kind in enumerate(("negatives", "positives")):
        plot.legend(kind, series, "bar")
    rows = [
        [percent(each["low"], 3), percent(each["high"], 3), count(each["negatives"]), count(each["positives"])]
        for each in bins
    ]
    heads = ("above", "up to", "negatives", "positives")
    table = Table("scores-table", "Distribution of propensities", tuple(map(Column, heads)), rows)
    caption = (
        "Pairs by propensity, in bins of half a nat of log-odds; both counts are on a logarithmic axis, so the few "
        "high propensities can be seen. The more the two shapes are apart, the better the model tells them apart."
    )
    return Figure("scores", caption, [plot.render()], table, wide=True)


def _log_odds(probability: float) -> float:
    return math.log(probability / (1 - probability))


def _probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))
