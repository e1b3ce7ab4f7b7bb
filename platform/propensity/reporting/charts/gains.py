"""Cumulative gains and lift: how many of the positives are among the customers with the highest propensity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from propensity.reporting.charts.axes import Axis, linear, shares
from propensity.reporting.charts.plot import Plot
from propensity.reporting.elements import Column, Figure, Table, figure, percent, word

if TYPE_CHECKING:
    from propensity.evaluation.diagnostics import Diagnostics

AVERAGES = {"macro": "mean over categories", "pooled": "all pairs pooled"}


def gains(diagnostics: Diagnostics) -> Figure:
    """Return the curves of cumulative gains, as the mean over categories and over all pairs pooled."""
    segments = list(diagnostics.segment_gains)
    charts = []
    for average, means in AVERAGES.items():
        who = "customers" if average == "macro" else "pairs"
        reached = diagnostics.segment_gains["all"][average][2][1]
        plot = Plot(
            f"gains-{average}",
            f"Cumulative gains, {means}",
            f"The best 20 % of {who} hold {reached:.0%} of all positives.",
            shares(f"share of {who}, highest propensity first"),
            shares("share of positives"),
            width=440,
        )
        plot.reference((0, 0), (1, 1))
        for series, segment in enumerate(segments):
            points = [(x, y) for x, y in diagnostics.segment_gains[segment][average] if math.isfinite(y)]
            plot.line(points, series)
            for x, y in points[1:-1]:
                plot.point(x, y, series, f"{segment}: the best {x:.0%} of {who} hold {y:.1%} of the positives", 3.0)
            plot.legend(f"{segment} pairs", series)
        charts.append(plot.render())
    rows = [
        [percent(decile / 10, 0)]
        + [
            percent(diagnostics.segment_gains[segment][average][decile][1], 1)
            for average in AVERAGES
            for segment in segments
        ]
        for decile in range(11)
    ]
    heads = [Column(f"{segment}, {means}") for means in AVERAGES.values() for segment in segments]
    table = Table("gains-table", "Cumulative gains: share of positives", (Column("best customers"), *heads), rows)
    caption = (
        "How much of a category's demand an audience reaches: choose the customers with the highest propensity first. "
        "The diagonal is a choice by chance. Left: the mean over categories with at least 20 positives. Right: all "
        "pairs in one ranking, where choosing popular categories counts too."
    )
    return Figure("gains", caption, charts, table)


def lift(diagnostics: Diagnostics) -> Figure:
    """Return the lift of each tenth of the customers, mean over categories."""
    lifts = {segment: of["macro"] for segment, of in diagnostics.segment_lift.items()}
    finite = [value for values in lifts.values() for value in values if math.isfinite(value)]
    x = Axis("tenth of customers, highest propensity first", 0.5, 10.5, tuple(map(float, range(1, 11))))
    best, last = lifts["all"][0], lifts["all"][-1]
    description = f"The best tenth holds {best:.1f} times its share of positives, the last {last:.2f} times."
    plot = Plot(
        "lift-macro",
        "Lift of each tenth of the customers, mean over categories",
        description,
        x,
        linear("lift", finite, zero=True),
        width=720,
    )
    width = (plot.x_at(2) - plot.x_at(1)) / (len(lifts) + 1)
    for series, (segment, values) in enumerate(lifts.items()):
        for number, value in enumerate(values, start=1):
            if math.isfinite(value):
                left = plot.x_at(number) + (series - len(lifts) / 2) * width
                plot.bar(left, left + width - 1, value, series, f"{segment}, tenth {number}: lift {value:.2f}")
        plot.legend(f"{segment} pairs", series, "bar")
    plot.reference((x.low, 1), (x.high, 1))
    rows = [
        [word(str(decile + 1))]
        + [figure(of[average][decile], 3) for average in AVERAGES for of in diagnostics.segment_lift.values()]
        for decile in range(10)
    ]
    heads = [Column(f"{segment}, {means}") for means in AVERAGES.values() for segment in lifts]
    table = Table("lift-table", "Lift of each tenth", (Column("tenth", numeric=False), *heads), rows)
    caption = (
        "Each tenth's share of positives over that of all customers, mean over categories with at least 20 positives; "
        "1 is chance."
    )
    return Figure("lift", caption, [plot.render()], table, wide=True)
