"""Categories at a glance: is each one's level right, and how well are its customers told apart."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from propensity.reporting.charts.axes import in_percent, linear, logarithmic
from propensity.reporting.charts.plot import Plot
from propensity.reporting.elements import Column, Figure, Table, count, figure, percent, word

if TYPE_CHECKING:
    from propensity.evaluation.diagnostics import Diagnostics


def categories(diagnostics: Diagnostics) -> Figure:
    """Return two charts with a point a category, and the table of all categories, those with most positives first."""
    found = sorted(diagnostics.per_category, key=lambda each: (-each["support"], each["category"]))
    rows = [
        [
            word(each["category"]),
            count(each["support"]),
            percent(each["base_rate"]),
            percent(each["mean_propensity"]),
            figure(each["roc_auc"]),
            figure(each["average_precision"]),
            figure(each["log_loss"]),
            figure(each["top_decile_lift"], 2),
        ]
        for each in found
    ]
    columns = (
        Column("category", numeric=False),
        Column("positives", explains="customers with a positive label"),
        Column("share of customers", explains="share of customers with a positive label"),
        Column("mean propensity"),
        Column("ROC AUC"),
        Column("average precision"),
        Column("log loss", explains="nats per customer"),
        Column("lift of the best tenth"),
    )
    table = Table("categories-table", "Every category, most positives first", columns, rows, filterable=True)
    caption = (
        "A point a category. Left: on the diagonal the model expects as many customers as came. Right: ROC AUC by the "
        "number of positives; with few of them it is mostly chance, and 0.5 is a model that can't tell customers apart."
    )
    return Figure("categories", caption, [_levels(found), _ranking(found)], table)


def _levels(found: list[dict[str, float]]) -> str:
    both = [each[key] for each in found for key in ("base_rate", "mean_propensity")]
    ends = [value for value in both if value > 0]
    x = logarithmic("share of customers with a positive label", ends, floor=1e-4, written=in_percent)
    y = logarithmic("mean propensity", ends, floor=1e-4, written=in_percent)
    expected, came = (sum(each[key] * each["pairs"] for each in found) for key in ("mean_propensity", "base_rate"))
    plot = Plot(
        "categories-levels",
        "Mean propensity and share of customers, by category",
        f"Over all categories {expected:,.0f} positives were expected and {came:,.0f} came.",
        x,
        y,
        width=440,
    )
    plot.reference((x.low, y.low), (x.high, y.high))
    for each in found:
        says = f"{each['category']}: {each['mean_propensity']:.2%} expected, {each['base_rate']:.2%} came"
        plot.point(each["base_rate"], each["mean_propensity"], 0, says, 2.6)
    return plot.render()


def _ranking(found: list[dict[str, float]]) -> str:
    defined = [each for each in found if math.isfinite(each["roc_auc"])]
    above = sum(each["roc_auc"] > 0.5 for each in defined)
    plot = Plot(
        "categories-ranking",
        "ROC AUC and number of positives, by category",
        f"{above} of {len(defined)} categories with a positive have an ROC AUC above 0.5.",
        logarithmic("positives", [each["support"] for each in defined], floor=1.0),
        linear("ROC AUC", [0.5, 1.0, *(each["roc_auc"] for each in defined)]),
        width=440,
    )
    plot.reference((plot.x.low, 0.5), (plot.x.high, 0.5))
    for each in defined:
        says = f"{each['category']}: ROC AUC {each['roc_auc']:.3f}, {each['support']:,.0f} positives"
        plot.point(each["support"], each["roc_auc"], 0, says, 2.6)
    return plot.render()
