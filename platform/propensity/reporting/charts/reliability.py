"""The reliability diagram: beside each propensity the share of positives that came."""

from __future__ import annotations

from typing import TYPE_CHECKING

from propensity.reporting.charts.axes import in_percent, logarithmic, shares
from propensity.reporting.charts.plot import Plot
from propensity.reporting.elements import Column, Figure, Table, count, percent, word

if TYPE_CHECKING:
    from propensity.evaluation.diagnostics import Diagnostics

FLOOR = 1e-4
"""Where the logarithmic axes end: bins without a positive are drawn there."""
KINDS = {"equal_width": "equal width", "equal_mass": "equal mass"}


def reliability(diagnostics: Diagnostics) -> Figure:
    """Return all, repeat and explore pairs side by side: bins of equal width above, of equal mass below."""
    charts = [
        _chart(f"reliability-{kind}-{segment}", segment, kind, diagnostics.reliability[segment][kind])
        for kind in KINDS
        for segment in diagnostics.reliability
    ]
    rows = [
        [
            word(segment),
            word(KINDS[kind]),
            percent(each["low"], 3),
            percent(each["high"], 3),
            count(each["pairs"]),
            percent(each["mean_probability"], 3),
            percent(each["positive_share"], 3),
        ]
        for segment, of_kind in diagnostics.reliability.items()
        for kind in KINDS
        for each in of_kind[kind]
    ]
    heads = ("above", "up to", "pairs", "mean propensity", "share of positives")
    table = Table(
        "reliability-table",
        "Reliability: bins of propensity",
        (Column("pairs of", numeric=False), Column("bins", numeric=False), *map(Column, heads)),
        rows,
    )
    caption = (
        "A well calibrated model lies on the diagonal: of the pairs given 20 %, a fifth are positive. Above it the "
        "model promises too little, below it too much. Upper row: 15 bins of equal width, a larger point holds more "
        "pairs. Lower row: 15 bins of about as many pairs each, on logarithmic axes, since most propensities are small."
    )
    return Figure("reliability", caption, charts, table)


def _chart(name: str, segment: str, kind: str, bins: list[dict[str, float]]) -> str:
    title = f"Reliability, {segment} pairs, bins of {KINDS[kind]}"
    largest = max(bins, key=lambda each: abs(each["mean_probability"] - each["positive_share"]), default=None)
    description = "There is no such pair."
    if largest is not None:
        description = (
            f"{len(bins)} bins. The largest gap: where {largest['mean_probability']:.2%} is promised on average, "
            f"{largest['positive_share']:.2%} of {largest['pairs']:,.0f} pairs are positive."
        )
    if kind == "equal_width":
        x, y = shares(f"mean propensity, {segment} pairs"), shares("share of positives")
    else:
        both = [each[key] for each in bins for key in ("mean_probability", "positive_share")]
        x, y = (
            logarithmic(label, both, floor=FLOOR, written=in_percent)
            for label in (f"mean propensity, {segment} pairs", "share of positives")
        )
    plot = Plot(name, title, description, x, y)
    plot.reference((x.low, y.low), (x.high, y.high))
    points = [(each["mean_probability"], each["positive_share"]) for each in bins]
    plot.line(points, 0)
    most = max((each["pairs"] for each in bins), default=1)
    for each, (x_value, y_value) in zip(bins, points, strict=True):
        says = f"{x_value:.2%} promised, {y_value:.2%} came; {each['pairs']:,.0f} pairs"
        radius = 2.5 + 4.5 * (each["pairs"] / most) ** 0.25 if kind == "equal_width" else 3.5
        plot.point(x_value, y_value, 0, says, radius)
    return plot.render()
