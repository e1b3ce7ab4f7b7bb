"""The series drawn: one self-contained HTML page, a chart per figure, and the difference with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final

from propensity.experiments.backtest_table import FIGURES, csv_rows, summary
from propensity.experiments.cutoff_result import NET, CutoffResult, local_day
from propensity.reporting.charts.axes import Axis, linear
from propensity.reporting.charts.plot import Plot, mark
from propensity.reporting.charts.svg import element, path_of

if TYPE_CHECKING:
    from propensity.settings import Settings

DRAWN_BASELINES: Final = 2
"""Far ones would press the near ones together; the table below has every model."""
X_LABELS: Final = 6
LOWER_IS_BETTER: Final = ("log loss", "ECE")

STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1120px; padding: 0 1rem; color: #1b1f24;
       background: #fff; }
.charts { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; width: 500px; max-width: 100%; }
.chart { width: 100%; height: auto; }
.chart text { font: 11px system-ui, sans-serif; fill: #4b535d; }
.chart .chart-title { font-size: 13px; font-weight: 600; fill: #1b1f24; }
.grid { stroke: #e6e9ed; } .axis { stroke: #8a929c; } .reference { stroke: #4b535d; stroke-dasharray: 4 3; }
.line { fill: none; stroke-width: 2; } .interval { stroke-width: 2; }
.s1 { stroke: #0b5fa5; } .s2 { stroke: #b35900; } .s3 { stroke: #3d7a3a; } .s4 { stroke: #7a4fa3; }
.point.s1 { fill: #0b5fa5; } .point.s2 { fill: #b35900; } .point.s3 { fill: #3d7a3a; } .point.s4 { fill: #7a4fa3; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #e6e9ed; white-space: nowrap; }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left; }
tr.net { font-weight: 600; }
"""


def page(results: Sequence[CutoffResult], settings: Settings) -> str:
    """Return the page as HTML that needs nothing from a network.

    Args:
        results: One per cut-off, rising; at least one.
        settings: Of the region.
    """
    first, last = (local_day(settings, results[number].as_of) for number in (0, -1))
    title = f"Backtest of region {settings.region}, cut-offs {first} to {last}"
    shown = drawn(results)
    charts = [_series(figure, number, results, shown, settings) for number, figure in enumerate(FIGURES)]
    charts.append(_gain(results, shown[1], settings))
    left_out = [_named(name) for name in results[0].evaluations if name not in shown]
    note = f" The charts leave out {', '.join(left_out)}." if left_out else ""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width">\n<style>{STYLE}</style>\n</head>\n<body>\n'
        f"<h1>{escape(title)}</h1>\n<p>{escape(summary(results) + note)}</p>\n"
        "<p>At each cut-off the net was trained on label windows that had ended by then, with the same settings, and "
        "tested on the window that starts there, beside baselines fitted on the same rows.</p>\n"
        f'<div class="charts">\n{"".join(f"<figure>{chart}</figure>" for chart in charts)}\n</div>\n'
        f"<h2>Every model</h2>\n{_table(results, settings)}\n"
        "</body>\n</html>\n"
    )


def drawn(results: Sequence[CutoffResult]) -> list[str]:
    """Return the models of the charts: the net, then the baselines with the lowest mean log loss, best first."""

    def total(name: str) -> float:
        return sum(result.evaluations[name].all.log_loss for result in results)

    return [NET, *sorted(results[0].gains, key=total)[:DRAWN_BASELINES]]


def _series(title: str, number: int, results: Sequence[CutoffResult], names: Sequence[str], settings: Settings) -> str:
    figure = FIGURES[title]
    values = {name: [figure(result.evaluations[name]) for result in results] for name in names}
    better = "lower is better" if title in LOWER_IS_BETTER else "higher is better"
    said = ", ".join(
        f"{local_day(settings, result.as_of)} {'undefined' if math.isnan(value) else format(value, '.4f')}"
        for result, value in zip(results, values[NET], strict=True)
    )
    plot = Plot(
        name=f"series-{number}",
        title=f"{title} per cut-off, {better}",
        description=f"{title} ({better}) of {', '.join(map(_named, names))}. The net's: {said}.",
        x=_cutoff_axis(results, settings),
        y=linear(title, [value for line in values.values() for value in line]),
        width=500,
        height=280,
        left=64,
    )
    # The net last: it lies on top.
    for place in reversed(range(len(names))):
        name = names[place]
        points = [(at, value) for at, value in enumerate(values[name]) if not math.isnan(value)]
        plot.line([(float(at), value) for at, value in points], place)
        for at, value in points:
            plot.point(
                float(at), value, place, f"{_named(name)}, {local_day(settings, results[at].as_of)}: {value:.4f}"
            )
    for place, name in enumerate(names):
        plot.legend(_named(name), place)
    return plot.render()


def _gain(results: Sequence[CutoffResult], rival: str, settings: Settings) -> str:
    gains = [result.gains[rival] for result in results]
    below = sum(gain.high < 0 for gain in gains)
    plot = Plot(
        name="gain",
        title=f"net less {_named(rival)} in log loss, 95 % interval",
        description=f"The net's log loss less that of {_named(rival)} with its paired 95 % interval; the interval lies "
        f"below zero on {below} of {len(gains)} cut-offs.",
        x=_cutoff_axis(results, settings),
        y=linear(
            "difference, below 0 the net is better", [0.0, *(end for gain in gains for end in (gain.low, gain.high))]
        ),
        width=500,
        height=280,
        left=64,
    )
    plot.reference((plot.x.low, 0.0), (plot.x.high, 0.0))
    for at, (result, gain) in enumerate(zip(results, gains, strict=True)):
        x = plot.x_at(float(at))
        ends = [(x, plot.y_at(gain.low)), (x, plot.y_at(gain.high))]
        says = f"{local_day(settings, result.as_of)}: {gain.mean:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})"
        plot.raw(element("path", {"class": "interval s1", "d": path_of(ends)}))
        plot.raw(mark(x, plot.y_at(gain.mean), 0, 4.0, says))
    return plot.render()


def _cutoff_axis(results: Sequence[CutoffResult], settings: Settings) -> Axis:
    """Cut-offs in their order, equally far apart; some of them are labelled."""
    n = len(results)
    step = -(-n // X_LABELS)
    return Axis(
        label="cut-off",
        low=-0.5,
        high=n - 0.5,
        ticks=tuple(float(at) for at in range(0, n, step)),
        written=lambda at: local_day(settings, results[round(at)].as_of),
    )


def _table(results: Sequence[CutoffResult], settings: Settings) -> str:
    columns = {
        "all.log_loss": "log loss",
        "all.micro_auc": "micro AUC",
        "all.macro_auc": "macro AUC",
        "explore.micro_auc": "explore AUC",
        "all.ndcg_at_10": "NDCG@10",
        "all.ece": "ECE",
    }
    titles = ("cut-off", "model", *columns.values(), "net less this, log loss")
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = []
    for row in csv_rows(results, settings):
        cells = "".join(f"<td>{'' if row[name] is None else format(row[name], '.4f')}</td>" for name in columns)
        cells += f"<td>{_difference(row)}</td>"
        kind = ' class="net"' if row["model"] == NET else ""
        body.append(f"<tr{kind}><td>{row['cutoff']}</td><td>{escape(_named(row['model']))}</td>{cells}</tr>\n")
    return (
        f'<div class="table"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{"".join(body)}</tbody>\n</table></div>'
    )


def _difference(row: dict[str, Any]) -> str:
    if row["model"] == NET:
        return ""
    mean, low, high = (row[f"net_minus_this_{end}"] for end in ("log_loss", "low", "high"))
    return f"{mean:+.4f} ({low:+.4f} to {high:+.4f})"


def _named(model: str) -> str:
    return model.replace("_", " ")
