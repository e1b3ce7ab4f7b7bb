"""The tables of a report that no chart stands beside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from propensity.evaluation.evaluation import Segment
from propensity.evaluation.report import COLUMNS
from propensity.evaluation.report import Column as Shown
from propensity.reporting.elements import NOTHING, Cell, Column, Table, count, figure, in_words, percent, word

if TYPE_CHECKING:
    from propensity.evaluation.bootstrap import Interval
    from propensity.evaluation.diagnostics import Diagnostics
    from propensity.evaluation.evaluation import Evaluation

SEGMENTS = ("all", "repeat", "explore")


def headline(
    evaluations: dict[str, Evaluation], differences: dict[str, dict[str, Interval]], seconds: dict[str, float]
) -> Table:
    """Return the model beside the baselines, with the paired interval of the log loss gained over each.

    Args:
        evaluations: By name, the model's first.
        differences: Baseline -> figure -> the model's less the baseline's.
        seconds: How long each baseline took to fit.
    """
    best = [_best([column.figure(each) for each in evaluations.values()], column) for column in COLUMNS]
    rows = []
    for name, evaluation in evaluations.items():
        cells = [word(in_words(name))]
        for column, top in zip(COLUMNS, best, strict=True):
            value = column.figure(evaluation)
            cells.append(figure(value, column.digits, best=round(value, column.digits) == top))
        interval = differences.get(name, {}).get("log_loss")
        cells.append(word(NOTHING) if interval is None else Cell(_interval(interval), interval.mean))
        cells.append(figure(seconds[name], 1) if name in seconds else word(NOTHING))
        rows.append(cells)
    columns = (
        Column("model", numeric=False),
        *(Column(column.title, explains="lower is better" if column.lower_is_better else "") for column in COLUMNS),
        Column("log loss: net less baseline", explains="with its paired 95 % bootstrap interval over customers"),
        Column("seconds to fit"),
    )
    return Table("headline-table", "The model beside the baselines; the best of each column is bold", columns, rows)


def segments(evaluation: Evaluation) -> Table:
    """Return every figure of the model, for all, repeat and explore pairs."""
    of = {name: getattr(evaluation, name) for name in SEGMENTS}
    rows = [
        [word(in_words(field.name).replace(" at 10", "@10"))]
        + [
            count(getattr(segment, field.name)) if "int" in str(field.type) else figure(getattr(segment, field.name), 5)
            for segment in of.values()
        ]
        for field in fields(Segment)
    ]
    heads = [Column(f"{name} pairs") for name in SEGMENTS]
    return Table("segments-table", "Every figure of the model", (Column("figure", numeric=False), *heads), rows)


def top_lists(diagnostics: Diagnostics) -> Table:
    """Return how good the best k categories of a customer are."""
    figures = {"ndcg": "NDCG", "recall": "recall", "precision": "precision"}
    rows = [
        [count(each["k"])]
        + [figure(diagnostics.top_lists[segment][place][name]) for segment in SEGMENTS for name in figures]
        for place, each in enumerate(diagnostics.top_lists["all"])
    ]
    heads = [Column(f"{title}, {segment}") for segment in SEGMENTS for title in figures.values()]
    caption = "The k categories with a customer's highest propensities, mean over customers with a positive"
    return Table("lists-table", caption, (Column("k"), *heads), rows)


def window_check(check: dict[str, float]) -> Table:
    """Return what says that two reports are about the same pairs; see `HoldoutWindow.describe`."""
    rows = [
        [
            word(in_words(name)),
            percent(value, 3) if "share" in name or "density" in name or name.startswith("p_") else _number(value),
        ]
        for name, value in check.items()
    ]
    return Table("check-table", "The held-out window", (Column("fact", numeric=False), Column("value")), rows)


def gate_figures(number: int, window: dict[str, Any]) -> Table:
    """Return what a decision of the gate was made on.

    Args:
        number: Of the decision.
        window: A stored `gate.WindowFigures`.
    """
    qualities = {"this model's validated net": window["challenger"], **window["baselines"]}
    champion = window["champion"]
    if champion is not None and champion["quality"] is not None:
        qualities[f"champion {champion['model_version']}, {champion['net']} net"] = champion["quality"]
    names = list(window["challenger"])
    rows = [
        [word(in_words(who)), *(figure(_defined(quality[name])) for name in names)]
        for who, quality in qualities.items()
    ]
    caption = (
        f"Label window from {window['window_as_of'][:10]}: {window['customers']:,} customers, "
        f"{window['categories']} categories, {window['positives']:,} positives"
    )
    columns = (Column("model", numeric=False), *(Column(in_words(name)) for name in names))
    return Table(f"gate-{number}-figures", caption, columns, rows)


def gate_checks(number: int, checks: Sequence[dict[str, Any]]) -> Table:
    """Return the rules of a decision, each with its number and its bound."""
    rows = [
        [
            word(check["rule"]),
            _number(_defined(check["value"])),
            _number(_defined(check["bound"])),
            word(("yes" if check["passed"] else "NO") if check["value"] is not None else "not applied"),
            word(check["says"]),
        ]
        for check in checks
    ]
    columns = (
        Column("rule", numeric=False),
        Column("value"),
        Column("bound"),
        Column("holds", numeric=False),
        Column("in words", numeric=False),
    )
    return Table(f"gate-{number}-checks", "The gate's rules", columns, rows)


def facts(name: str, caption: str, rows: Sequence[tuple[str, str]]) -> Table:
    """Return names and texts."""
    columns = (Column("fact", numeric=False), Column("value", numeric=False))
    return Table(name, caption, columns, [[word(fact), word(value)] for fact, value in rows])


def _best(values: list[float], column: Shown) -> float | None:
    known = [round(value, column.digits) for value in values if not math.isnan(value)]
    if len(known) < 2:
        return None
    return min(known) if column.lower_is_better else max(known)


def _interval(interval: Interval) -> str:
    return f"{interval.mean:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"


def _number(value: float) -> Cell:
    return count(value) if math.isfinite(value) and float(value).is_integer() else figure(value)


def _defined(value: float | None) -> float:
    return math.nan if value is None else value
