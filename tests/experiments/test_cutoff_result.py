"""Who is ahead, and what the table and the page say of it, on figures made by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from rich.console import Console

from propensity.evaluation.bootstrap import Interval
from propensity.evaluation.evaluation import Evaluation, evaluate
from propensity.experiments.backtest_page import drawn, page
from propensity.experiments.backtest_table import backtest_table, csv_rows, summary
from propensity.experiments.cutoff_result import CutoffResult, local_day
from propensity.settings import load_settings

SETTINGS = load_settings()
FIRST = datetime(2017, 8, 3, 4, tzinfo=UTC)


@pytest.fixture(scope="module")
def some_evaluation() -> Evaluation:
    rng = np.random.default_rng(1)
    labels = rng.random((60, 4)) < 0.5
    return evaluate(labels, rng.random((60, 4)), rng.random((60, 4)) < 0.5)


def with_figures(evaluation: Evaluation, log_loss: float, macro_auc: float) -> Evaluation:
    return replace(evaluation, all=replace(evaluation.all, log_loss=log_loss, macro_auc=macro_auc))


def result(some: Evaluation, net=(0.17, 0.81), others=((0.18, 0.80), (0.19, 0.79)), high=-0.001, number=0):
    names = [f"baseline_{n}" for n in range(len(others))]
    return CutoffResult(
        as_of=FIRST + timedelta(days=30 * number),
        model_version="v",
        training_as_ofs=13,
        train_seconds=1.0,
        evaluations={
            "net": with_figures(some, *net),
            **{name: with_figures(some, *pair) for name, pair in zip(names, others, strict=True)},
        },
        check={"households": 60, "p_label_given_repeat": math.nan},
        gains={
            name: Interval(net[0] - pair[0], net[0] - pair[0] - 0.01, high)
            for name, pair in zip(names, others, strict=True)
        },
    )


@pytest.mark.parametrize(
    ("net", "ahead"),
    [
        ((0.17, 0.81), True),
        ((0.18, 0.81), False),  # as good in log loss is not ahead
        ((0.17, 0.80), False),
        ((0.17, 0.795), False),  # ahead of the best in log loss only
        ((0.17, math.nan), False),
    ],
)
def test_ahead_means_of_every_baseline_in_both(some_evaluation, net, ahead):
    found = result(some_evaluation, net)
    assert found.ahead is ahead
    assert found.rival == "baseline_0"
    # The rival is the best in log loss, another one may be the best in macro AUC.
    assert not result(some_evaluation, net, others=((0.18, 0.70), (0.19, 0.82))).ahead


def test_written_it_is_read_again_and_only_for_its_inputs(some_evaluation, tmp_path):
    found = result(some_evaluation)
    path = tmp_path / "deep" / "cutoff.json"
    found.write(path, "abc")
    again = CutoffResult.read(path, "abc")
    assert again is not None
    assert math.isnan(again.check["p_label_given_repeat"])
    assert replace(again, check=found.check) == found
    assert CutoffResult.read(path, "abd") is None
    assert CutoffResult.read(tmp_path / "none.json", "abc") is None
    path.write_text(path.read_text()[:-20])
    assert CutoffResult.read(path, "abc") is None


def test_the_summary_counts(some_evaluation):
    series = [
        result(some_evaluation),
        result(some_evaluation, high=0.001, number=1),
        result(some_evaluation, (0.185, 0.81), number=2),
        result(some_evaluation, (0.17, math.nan), number=3),
    ]
    said = summary(series)
    assert "macro AUC on 2 of 4 cut-offs" in said
    assert "95 % confidence on 3 of 4" in said
    assert "Macro AUC isn't defined on 1" in said
    assert "isn't defined" not in summary(series[:3])


def test_the_table_shows_the_net_beside_the_best_baseline(some_evaluation):
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    with console.file:
        console.print(backtest_table([result(some_evaluation), result(some_evaluation, number=1)], SETTINGS))
    text = console.export_text()
    assert text.count("2017-08-03") == text.count("2017-09-02") == 1
    assert "-.0100" in text
    assert "(-.0200 to -.0010)" in text
    assert "baseline 0" in text
    assert "baseline 1" not in text
    assert all(len(line.rstrip()) <= 80 for line in text.splitlines())


def test_rows_for_csv_name_every_figure(some_evaluation):
    rows = list(csv_rows([result(some_evaluation, (0.17, math.nan))], SETTINGS))
    assert [row["model"] for row in rows] == ["net", "baseline_0", "baseline_1"]
    assert rows[0]["all.macro_auc"] is None
    assert rows[1]["net_minus_this_log_loss"] == pytest.approx(-0.01)
    assert {"repeat.log_loss", "explore.micro_auc", "all.ece"} <= rows[0].keys()


def test_the_page_draws_the_best_and_lists_all(some_evaluation):
    others = ((0.2, 0.7), (0.19, 0.7), (0.21, 0.7), (0.18, 0.7), (0.22, 0.7))
    series = [result(some_evaluation, others=others, number=number) for number in range(9)]
    assert drawn(series) == ["net", "baseline_3", "baseline_1"]
    text = page(series, SETTINGS)
    assert "The charts leave out baseline 0, baseline 2, baseline 4." in text
    assert text.count("<tr") == 1 + 9 * 6
    assert text.count('class="interval') == 9
    assert "nan" not in text
    # Nine cut-offs, every second one labelled.
    assert text.count(">2017-08-03</text>") == 6
    assert text.count(">2017-09-02</text>") == 0


def test_one_cutoff_is_drawn_too(some_evaluation):
    text = page([result(some_evaluation, (0.17, math.nan), others=((0.18, math.nan),))], SETTINGS)
    assert text.count("<svg") == 6
    assert "2017-08-03 undefined" in text
    assert "nan" not in text
    assert "leave out" not in text


def test_a_day_is_named_by_its_local_date():
    assert local_day(SETTINGS, FIRST) == "2017-08-03"
    assert local_day(SETTINGS, FIRST + timedelta(hours=6)) == "2017-08-03T0600"
