"""Models side by side."""

from __future__ import annotations

import io
import json

import numpy as np
from rich.console import Console

from propensity.evaluation import Evaluation, evaluate
from propensity.evaluation.report import COLUMNS, comparison_table, to_json, to_markdown


def evaluations() -> dict[str, Evaluation]:
    labels = np.tile(np.array([[True, False], [False, True]]), (30, 1))
    repeat = np.ones_like(labels)
    return {
        "guess": evaluate(labels, np.full(labels.shape, 0.5), repeat),
        "better": evaluate(labels, np.where(labels, 0.75, 0.25), repeat),
    }


def test_markdown_marks_the_best_and_leaves_gaps_for_what_is_not_defined() -> None:
    head, *lines = to_markdown(evaluations()).splitlines()
    titles = [
        "log loss",
        "micro AUC",
        "macro AUC",
        "repeat AUC",
        "explore AUC",
        "NDCG@10",
        "recall@10",
        "ECE",
    ]
    assert head == f"| model | {' | '.join(titles)} |"
    assert lines == [
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| guess | .6931 | .5000 | .5000 | .5000 | – | .8155 | **1.0000** | **.0000** |",
        f"| better | **.2877** |{' **1.0000** |' * 3} – |{' **1.0000** |' * 2} .2500 |",
    ]


def test_the_table_shows_the_same_cells() -> None:
    out = io.StringIO()
    table = comparison_table(evaluations(), title="Models", caption="The data are simulated.")
    Console(file=out, width=200, color_system=None).print(table)
    shown = out.getvalue()
    assert "Models" in shown
    assert "The data are simulated." in shown
    lines = to_markdown(evaluations()).splitlines()[2:]
    cells = [cell.strip(" *") for line in lines for cell in line.strip("|").split("|")]
    assert len(cells) == 2 * (1 + len(COLUMNS))
    assert all(cell in shown for cell in cells)
    assert table.row_count == 2
    heads = [str(column.header).replace("\n@", "@").replace("\n", " ") for column in table.columns]
    assert heads == ["model", *(column.title for column in COLUMNS)]


def test_one_model_has_nothing_to_be_best_of() -> None:
    assert "**" not in to_markdown({"guess": evaluations()["guess"]})


def test_json_has_every_figure() -> None:
    figures = json.loads(to_json(evaluations()))
    assert list(figures) == ["guess", "better"]
    assert figures["better"] == evaluations()["better"].to_dict()
    assert figures["better"]["explore"]["micro_auc"] is None
