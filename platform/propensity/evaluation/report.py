"""Models side by side: a table for the terminal, the same as Markdown, and all figures as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from propensity.evaluation.evaluation import Evaluation


@dataclass(frozen=True)
class Column:
    """One figure of the table.

    Attributes:
        title: Head of the column.
        figure: Takes it from an evaluation.
        digits: After the point.
        lower_is_better: Which end is best.
    """

    title: str
    figure: Callable[[Evaluation], float]
    digits: int = 4
    lower_is_better: bool = False


COLUMNS: Final = (
    Column("log loss", lambda evaluation: evaluation.all.log_loss, digits=4, lower_is_better=True),
    Column("micro AUC", lambda evaluation: evaluation.all.micro_auc),
    Column("macro AUC", lambda evaluation: evaluation.all.macro_auc),
    Column("repeat AUC", lambda evaluation: evaluation.repeat.micro_auc),
    Column("explore AUC", lambda evaluation: evaluation.explore.micro_auc),
    Column("NDCG@10", lambda evaluation: evaluation.all.ndcg_at_10),
    Column("recall@10", lambda evaluation: evaluation.all.recall_at_10),
    Column("ECE", lambda evaluation: evaluation.all.ece, lower_is_better=True),
)


def comparison_table(
    evaluations: Mapping[str, Evaluation], *, title: str | None = None, caption: str | None = None
) -> Table:
    """Return a rich table, one row a model in the given order, the best figure of each column bold.

    Args:
        evaluations: By model name; all on the same window.
        title: Above the table.
        caption: Below it; the place to say where the data come from, e.g. that they are simulated.
    """
    # A name and eight figures without their leading zeros fit into 80 columns.
    table = Table(title=title, caption=caption, box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("model", max_width=26)
    for column in COLUMNS:
        head = column.title.replace(" ", "\n").replace("@", "\n@")
        table.add_column(head, justify="right", min_width=column.digits + 1)
    for name, cells in _rows(evaluations):
        table.add_row(name.replace("_", " "), *(f"[bold]{text}[/bold]" if best else text for text, best in cells))
    return table


def to_markdown(evaluations: Mapping[str, Evaluation]) -> str:
    """Return the same table as Markdown text that ends with a newline."""
    head = ["model", *(column.title for column in COLUMNS)]
    lines = [head, ["---", *("---:" for _ in COLUMNS)]]
    for name, cells in _rows(evaluations):
        lines.append([name.replace("|", "\\|"), *(f"**{text}**" if best else text for text, best in cells)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def to_json(evaluations: Mapping[str, Evaluation]) -> str:
    """Return every figure of every model as JSON text; a figure that isn't defined is null."""
    figures = {name: evaluation.to_dict() for name, evaluation in evaluations.items()}
    return json.dumps(figures, indent=2, allow_nan=False) + "\n"


def _rows(evaluations: Mapping[str, Evaluation]) -> list[tuple[str, list[tuple[str, bool]]]]:
    """Return each model's cells: the text, and whether no other model's text is better."""
    best = [_best(column, evaluations) for column in COLUMNS]
    rows = []
    for name, evaluation in evaluations.items():
        texts = [_text(column, evaluation) for column in COLUMNS]
        rows.append((name, [(text, text == top) for text, top in zip(texts, best, strict=True)]))
    return rows


def _best(column: Column, evaluations: Mapping[str, Evaluation]) -> str | None:
    """Return the column's best text, or None where there is nothing to compare."""
    figures = [value for each in evaluations.values() if not math.isnan(value := column.figure(each))]
    if len(figures) < 2:
        return None
    return f"{(min if column.lower_is_better else max)(figures):.{column.digits}f}".removeprefix("0")


def _text(column: Column, evaluation: Evaluation) -> str:
    value = column.figure(evaluation)
    return "–" if math.isnan(value) else f"{value:.{column.digits}f}".removeprefix("0")
