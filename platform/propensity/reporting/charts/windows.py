"""Which weeks the model learned from, and which it was judged on: label windows on a line of time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from propensity.reporting.charts.axes import Axis
from propensity.reporting.charts.plot import Plot, row_name, style
from propensity.reporting.charts.svg import element, tooltip
from propensity.reporting.elements import Column, Figure, Table, word

ROLES = ("training", "validation, then training", "held out")


@dataclass(frozen=True)
class LabelWindow:
    """A label window and what it was for.

    Attributes:
        start: Its as_of, in the region's time.
        end: Where it ends.
        role: One of ROLES.
    """

    start: datetime
    end: datetime
    role: str


def windows(found: list[LabelWindow]) -> Figure:
    """Return the windows as bars, one below the other, in time order.

    Args:
        found: At least one.
    """
    in_order = sorted(found, key=lambda window: (window.start, window.role))
    first, last = in_order[0].start, max(window.end for window in in_order)
    months = _months(first - timedelta(days=31), last)
    x = Axis(
        "",
        min(months[0], first.timestamp()),
        last.timestamp() + 0.03 * (last - first).total_seconds(),  # room for the last month's name
        tuple(months),
        written=lambda at: f"{datetime.fromtimestamp(at, tz=first.tzinfo):%b %Y}",
    )
    rows = Axis("", float(len(in_order)), 0.0, ())
    counts = {role: sum(window.role == role for window in in_order) for role in ROLES}
    plot = Plot(
        "windows-timeline",
        "Label windows",
        ", ".join(f"{counts[role]} {role}" for role in ROLES if counts[role])
        + f"; from {_day(first)} to {_day(last)}. Features reach back from each window's start.",
        x,
        rows,
        width=720,
        height=82 + 16 * len(in_order),
        left=40,
    )
    for number, window in enumerate(in_order):
        left, right = plot.x_at(window.start.timestamp()), plot.x_at(window.end.timestamp())
        series, top = ROLES.index(window.role), plot.y_at(number)
        says = f"{window.role}: {_day(window.start)} to {_day(window.end)}"
        box: dict[str, str | float] = {
            "class": f"bar {style(series)}",
            "x": left,
            "y": top + 3,
            "width": right - left,
            "height": max(2.0, plot.y_at(number + 1) - top - 5),
        }
        plot.raw(element("rect", box, tooltip(says)))
        if window.role != ROLES[0]:
            plot.raw(row_name(left - 6, top + 14, window.role, "end"))
    for series, role in enumerate(ROLES):
        if counts[role]:
            plot.legend(role, series, "bar")
    heads = ("as_of (start)", "end", "for")
    table = Table(
        "windows-table",
        "Label windows",
        tuple(Column(head, numeric=False) for head in heads),
        [[word(_day(window.start)), word(_day(window.end)), word(window.role)] for window in in_order],
    )
    caption = (
        "Each bar is a label window: what customers did in it is learned or predicted from what was known at its "
        "start. No window the net learned from ends after the one it is judged on begins."
    )
    return Figure("windows", caption, [plot.render()], table, wide=True)


def _months(first: datetime, last: datetime) -> list[float]:
    """Return the starts of months from `first` on, at most a dozen of them."""
    start = first.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    starts = []
    while start <= last:
        if start >= first:
            starts.append(start.timestamp())
        start = (start + timedelta(days=32)).replace(day=1)
    every = max(1, -(-len(starts) // 12))
    return starts[::every]


def _day(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d}"
