"""The model against each baseline: differences with their paired bootstrap intervals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from propensity.reporting.charts.axes import Axis, linear
from propensity.reporting.charts.plot import Plot, mark, row_name
from propensity.reporting.charts.svg import element, path_of
from propensity.reporting.elements import Cell, Column, Figure, Table, figure, in_words, word

if TYPE_CHECKING:
    from propensity.evaluation.bootstrap import Interval

DRAWN = ("log_loss", "macro_auc", "ndcg_at_10")
TITLES = {
    "log_loss": "log loss",
    "log_loss_of_repeat": "log loss, repeat pairs",
    "log_loss_of_explore": "log loss, explore pairs",
    "brier": "Brier score",
    "ece": "ECE",
    "ndcg_at_10": "NDCG@10",
    "micro_auc": "micro AUC",
    "macro_auc": "macro AUC",
}
LOWER_IS_BETTER = frozenset(("log_loss", "log_loss_of_repeat", "log_loss_of_explore", "brier", "ece"))


def differences(found: dict[str, dict[str, Interval]], caption: str) -> Figure:
    """Return what the model gains over each baseline, three figures drawn and all of them in the table.

    Args:
        found: Baseline -> figure -> model's less the baseline's; see `evaluation.evidence.Evidence`.
        caption: Says what was drawn and how often.
    """
    figures = [name for name in TITLES if any(name in of for of in found.values())]
    rows = [
        [word(in_words(baseline)), word(TITLES[name]), *_numbers(of[name]), word(verdict(name, of[name]))]
        for baseline, of in found.items()
        for name in figures
        if name in of
    ]
    columns = (
        Column("against", numeric=False),
        Column("figure", numeric=False),
        Column("difference", explains="the model's figure less the baseline's"),
        Column("low", explains="lower end of the 95 % interval"),
        Column("high", explains="upper end of the 95 % interval"),
        Column("the model is", numeric=False),
    )
    charts = [_chart(name, found) for name in DRAWN if name in figures]
    return Figure(
        "differences", caption, charts, Table("differences-table", "The model less each baseline", columns, rows)
    )


def verdict(name: str, interval: Interval) -> str:
    """Return better, worse or "no different": an interval that holds zero decides nothing."""
    if math.isnan(interval.low) or interval.low <= 0 <= interval.high:
        return "no different"
    return "better" if (interval.high < 0) == (name in LOWER_IS_BETTER) else "worse"


def _numbers(interval: Interval) -> list[Cell]:
    return [figure(value, 5, signed=True) for value in (interval.mean, interval.low, interval.high)]


def _chart(name: str, found: dict[str, dict[str, Interval]]) -> str:
    ends = [value for of in found.values() for value in (of[name].low, of[name].high, of[name].mean)]
    x = linear(f"difference in {TITLES[name]}", ends, zero=True, n_ticks=4)
    rows = Axis("", len(found) + 0.0, 0.0, ())
    better = [baseline for baseline, of in found.items() if verdict(name, of[name]) == "better"]
    plot = Plot(
        f"differences-{name.replace('_', '-')}",
        f"{TITLES[name]}: model less baseline, 95 % interval",
        f"Better than {len(better)} of {len(found)} baselines with an interval that excludes zero"
        + (f": {', '.join(map(in_words, better))}." if better else "."),
        x,
        rows,
        height=94 + 44 * len(found),
        left=14,
    )
    plot.raw(element("path", {"class": "zero", "d": path_of([plot.at(0, rows.low), plot.at(0, rows.high)])}))
    for number, (baseline, of) in enumerate(found.items()):
        interval, y = of[name], plot.y_at(number + 0.66)
        series = 0 if verdict(name, interval) == "better" else 1
        says = f"{in_words(baseline)}: {interval.mean:+.5f}, {interval.low:+.5f} to {interval.high:+.5f}"
        plot.raw(row_name(plot.left, plot.y_at(number + 0.3), in_words(baseline)))
        if not math.isnan(interval.low):
            ends_at = [(plot.x_at(interval.low), y), (plot.x_at(interval.high), y)]
            plot.raw(element("path", {"class": f"line s{series + 1}", "d": path_of(ends_at)}))
        if not math.isnan(interval.mean):
            plot.raw(mark(plot.x_at(interval.mean), y, series, 4.0, says))
    return plot.render()
