"""Fairness slices: what each group of customers is promised, and what it does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from propensity.reporting.charts.axes import Axis, linear
from propensity.reporting.charts.plot import Plot, mark, row_name
from propensity.reporting.charts.svg import element, path_of
from propensity.reporting.elements import Column, Figure, Table, count, figure, in_words, percent, word

if TYPE_CHECKING:
    from propensity.evaluation.slices import Slice

PLAIN = 2.0
"""Standard errors beyond which a gap is called one: about 95 % of groups without bias stay below."""


def fairness(slices: Sequence[Slice]) -> Figure:
    """Return a chart an attribute, on one scale, and all slices as a table.

    Args:
        slices: At least one.
    """
    attributes = list(dict.fromkeys(each.attribute for each in slices))
    ends = [value for each in slices for value in (each.mean_propensity, each.positive_share)]
    charts = [
        _chart(number, attribute, [each for each in slices if each.attribute == attribute], ends)
        for number, attribute in enumerate(attributes)
    ]
    rows = [
        [
            word(in_words(each.attribute)),
            word(each.value),
            count(each.customers),
            figure(each.log_loss),
            figure(each.ece),
            percent(each.mean_propensity),
            percent(each.positive_share),
            percent(each.gap),
            word(_says(each)),
        ]
        for each in slices
    ]
    columns = (
        Column("attribute", numeric=False),
        Column("value", numeric=False),
        Column("customers"),
        Column("log loss", explains="nats per pair; a group that buys more has a higher one, whatever the model"),
        Column("ECE", explains="expected calibration error; higher in small groups by chance alone"),
        Column("mean propensity"),
        Column("share of positives"),
        Column("gap", explains="mean propensity less share of positives"),
        Column("beyond chance", numeric=False, explains="the gap is more than two standard errors"),
    )
    table = Table("fairness-table", "Figures of groups of customers", columns, rows)
    caption = (
        "A group whose two marks are apart is promised more, or less, than it does. The bar is the mean propensity, "
        "plus and minus two standard errors of the gap. Values that fewer than 20 customers share are together."
    )
    return Figure("fairness", caption, charts, table)


def _says(each: Slice) -> str:
    if not abs(each.gap) > PLAIN * each.gap_error:
        return "no"
    return "promised too much" if each.gap > 0 else "promised too little"


def _chart(number: int, attribute: str, slices: list[Slice], ends: list[float]) -> str:
    x = linear("share of pairs", ends, zero=True, n_ticks=4, written=lambda at: f"{at:.0%}")
    rows = Axis("", float(len(slices)), 0.0, ())
    worst = max(slices, key=lambda each: abs(each.gap))
    plot = Plot(
        f"fairness-{number}",
        f"Promised and came, by {in_words(attribute)}",
        f"The largest gap: {worst.value}, {worst.mean_propensity:.2%} promised and {worst.positive_share:.2%} come.",
        x,
        rows,
        height=84 + 26 * len(slices),
        left=128,
    )
    for position, each in enumerate(slices):
        y = plot.y_at(position + 0.5)
        label = each.value if len(each.value) <= 18 else f"{each.value[:17]}…"
        plot.raw(row_name(plot.left - 8, y + 4, label, "end"))
        if math.isfinite(each.gap_error):
            reach = PLAIN * each.gap_error
            bar = [(plot.x_at(each.mean_propensity + sign * reach), y) for sign in (-1, 1)]
            plot.raw(element("path", {"class": "line s1", "d": path_of(bar)}))
        for series, (value, what) in enumerate(((each.mean_propensity, "promised"), (each.positive_share, "came"))):
            says = f"{each.value}, {each.customers:,} customers: {value:.2%} {what}"
            plot.raw(mark(plot.x_at(value), y, series, 4.0, says))
    plot.legend("mean propensity", 0, "point")
    plot.legend("share of positives", 1, "point")
    return plot.render()
