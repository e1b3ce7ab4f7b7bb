"""The gate's rules, each held and each broken, on figures made up for it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from propensity.models.gate import ChampionFigures, Difference, Quality, WindowFigures, rule_on
from propensity.settings import SIMPLE_BASELINES, GateSettings

GATE = GateSettings()
GOOD = Quality(log_loss=0.20, ece=0.01, micro_auc=0.90, macro_auc=0.80)
CHAMPION = ChampionFigures("old", "kept", replace(GOOD, log_loss=0.21), Difference(-0.01, -0.02, 0.001))


def figures(quality: Quality = GOOD, **changed: object) -> WindowFigures:
    return WindowFigures(
        **{
            "window_as_of": datetime(2024, 7, 2, 4, tzinfo=UTC),
            "customers": 1000,
            "categories": 12,
            "positives": 5000,
            "challenger": quality,
            "carried_log_loss": quality.log_loss - 0.001,
            "baselines": {
                "global_popularity": Quality(0.30, 0.01, 0.70, 0.50),
                "personal_frequency": Quality(0.22, 0.01, 0.88, 0.78),
                "recency_weighted_frequency": Quality(0.21, 0.01, 0.89, 0.79),
            },
            "champion": CHAMPION,
        }
        | changed
    )


def broken(found: WindowFigures, gate: GateSettings = GATE) -> set[str]:
    ruling = rule_on(found, gate)
    failed = {check.rule for check in ruling.checks if not check.passed}
    assert ruling.passed is not bool(failed)
    assert all(check.says in ruling.reason for check in ruling.checks if not check.passed)
    assert "\n" not in ruling.reason
    return failed


def test_a_good_challenger_passes_every_rule_and_the_words_say_how():
    ruling = rule_on(figures(), GATE)
    assert ruling.passed
    assert {check.rule for check in ruling.checks} == {
        "min_customers", "min_positives", "min_micro_auc", "min_macro_auc", "max_log_loss_ratio", "max_ece",
        "carried_calibration_fits", "not_significantly_worse",
        *(f"{figure}_beats_{name}" for figure in ("log_loss", "macro_auc") for name in SIMPLE_BASELINES),
    }  # fmt: skip
    assert "not significantly worse than champion old" in ruling.reason
    assert "early stopping" in ruling.reason


@pytest.mark.parametrize(
    ("rule", "bound", "holds", "breaks"),
    [
        ("min_micro_auc", 0.9, {"quality": replace(GOOD, micro_auc=0.9)}, {"quality": replace(GOOD, micro_auc=0.8999)}),
        ("min_macro_auc", 0.8, {"quality": replace(GOOD, macro_auc=0.8)}, {"quality": replace(GOOD, macro_auc=0.7999)}),
        ("max_log_loss", 0.2, {}, {"quality": replace(GOOD, log_loss=0.2001)}),
        ("max_log_loss_ratio", 0.68, {}, {"quality": replace(GOOD, log_loss=0.2048)}),
        ("max_ece", 0.01, {}, {"quality": replace(GOOD, ece=0.0101)}),
        ("min_customers", 100, {"customers": 100}, {"customers": 99}),
        ("min_positives", 100, {"positives": 100}, {"positives": 99}),
    ],
)
def test_each_floor_either_side_of_its_bound(rule, bound, holds, breaks):
    gate = GateSettings(**{rule: bound})
    assert broken(figures(**holds), gate) == set()
    assert broken(figures(**breaks), gate) == {rule}
    (check,) = [check for check in rule_on(figures(**breaks), gate).checks if check.rule == rule]
    assert check.bound == bound
    assert f"gate.{rule}" in check.says


def test_a_calibration_that_doesnt_fit_its_own_window_is_refused():
    assert broken(figures(carried_log_loss=0.2019)) == set()
    assert broken(figures(carried_log_loss=0.2021)) == {"carried_calibration_fits"}


@pytest.mark.parametrize("figure", ["micro_auc", "ece", "log_loss"])
def test_a_figure_that_isnt_defined_passes_nothing(figure):
    assert broken(figures(replace(GOOD, **{figure: math.nan})))


def test_macro_auc_isnt_applied_where_no_category_has_enough_positives():
    undefined = {name: replace(quality, macro_auc=math.nan) for name, quality in figures().baselines.items()}
    ruling = rule_on(figures(replace(GOOD, macro_auc=math.nan), baselines=undefined), GATE)
    assert ruling.passed
    skipped = {check.rule for check in ruling.checks if check.value is None}
    assert skipped == {"min_macro_auc", *(f"macro_auc_beats_{name}" for name in SIMPLE_BASELINES)}
    assert all("isn't defined" in check.says for check in ruling.checks if check.value is None)


@pytest.mark.parametrize("name", SIMPLE_BASELINES)
@pytest.mark.parametrize("figure", ["log_loss", "macro_auc"])
def test_each_baseline_must_be_beaten_not_equalled(name, figure):
    rivals = figures().baselines
    equal = rivals | {name: replace(rivals[name], **{figure: getattr(GOOD, figure)})}
    gate = GateSettings(max_log_loss_ratio=2)
    assert broken(figures(baselines=equal), gate) == {f"{figure}_beats_{name}"}
    others = tuple(other for other in SIMPLE_BASELINES if other != name)
    assert broken(figures(baselines=equal), gate.model_copy(update={"baselines": others})) == set()


@pytest.mark.parametrize(("low", "refused"), [(-0.001, False), (0.0, False), (1e-6, True)])
def test_the_champion_stays_only_when_the_interval_says_so(low, refused):
    champion = replace(CHAMPION, difference=Difference(0.002, low, 0.004))
    assert broken(figures(champion=champion)) == ({"not_significantly_worse"} if refused else set())


def test_no_comparison_is_never_silent():
    seen = ChampionFigures("old", None, None, None, "champion has seen this window")
    ruling = rule_on(figures(champion=seen), GATE)
    assert ruling.passed
    assert "not compared with champion old: champion has seen this window" in ruling.reason
    (check,) = [check for check in ruling.checks if check.rule == "not_significantly_worse"]
    assert (check.value, check.bound, check.passed) == (None, None, True)
    assert "there was no champion" in rule_on(figures(champion=None), GATE).reason


def test_every_broken_rule_is_named():
    bad = Quality(log_loss=0.4, ece=0.2, micro_auc=0.5, macro_auc=0.5)
    found = broken(figures(bad, customers=3, positives=4))
    assert found >= {
        "min_customers",
        "min_positives",
        "min_micro_auc",
        "min_macro_auc",
        "max_log_loss_ratio",
        "max_ece",
    }


def test_figures_are_json():
    described = figures(replace(GOOD, macro_auc=math.nan)).to_json()
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    assert described["challenger"]["macro_auc"] is None
    assert described["window_as_of"] == "2024-07-02T04:00:00+00:00"


def test_an_unknown_baseline_is_no_setting():
    with pytest.raises(ValueError, match="unknown lightgbm; known: global_popularity"):
        GateSettings(baselines=("lightgbm",))
