"""Where things are drawn: axes that are round and true, and marks where their numbers say."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.errors import InputError
from propensity.evaluation import Interval, diagnose
from propensity.reporting.charts.axes import in_percent, linear, logarithmic, shares
from propensity.reporting.charts.differences import differences, verdict
from propensity.reporting.charts.gains import gains, lift
from propensity.reporting.charts.plot import Plot
from propensity.reporting.charts.reliability import reliability
from propensity.reporting.charts.training import training
from tests.reporting.html_reading import Node, read

FINITE = st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-6)


def parsed(chart: str) -> Node:
    return read(f"<!DOCTYPE html><html>{chart}</html>").one("svg")


@given(st.lists(FINITE, min_size=1, max_size=20), st.booleans())
def test_a_linear_axis_is_round_and_holds_everything(values, zero):
    axis = linear("x", [*values, math.nan], zero=zero)
    assert axis.low <= min(values)
    assert axis.high >= max(values)
    assert 2 <= len(axis.ticks) <= 9
    assert (axis.ticks[0], axis.ticks[-1]) == (axis.low, axis.high)
    steps = np.diff(axis.ticks)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
    assert float(f"{steps[0]:.3e}".partition("e")[0]) in (1.0, 2.0, 2.5, 5.0)
    assert len({axis.written(tick) for tick in axis.ticks}) == len(axis.ticks)
    if zero:
        assert axis.low <= 0 <= axis.high
    for value in values:
        assert axis.share(value) == pytest.approx((value - axis.low) / (axis.high - axis.low), abs=1e-9)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
def test_a_logarithmic_axis_goes_from_power_to_power(values):
    axis = logarithmic("x", values, floor=1e-4)
    assert axis.low <= max(1e-4, min(values)) * (1 + 1e-9)
    assert axis.high >= max(values) * (1 - 1e-9)
    assert all(math.isclose(math.log10(tick), round(math.log10(tick)), abs_tol=1e-9) for tick in axis.ticks)
    assert axis.share(0.0) == 0
    middle = math.sqrt(axis.low * axis.high)
    assert axis.share(middle) == pytest.approx(0.5)
    with pytest.raises(InputError, match="above 0"):
        logarithmic("x", values, floor=0)


def test_percent_is_as_short_as_it_can_be():
    assert [in_percent(value) for value in (1e-4, 0.001, 0.1, 1.0)] == ["0.01%", "0.1%", "10%", "100%"]


@pytest.fixture(scope="module")
def diagnostics():
    rng = np.random.default_rng(6)
    probabilities = rng.beta(1, 4, size=(300, 4))
    labels = rng.random(probabilities.shape) < probabilities
    return diagnose(labels, probabilities, rng.random(labels.shape) < 0.3, list("abcd"))


def test_reliability_points_are_where_the_bins_say(diagnostics):
    figure = reliability(diagnostics)
    assert len(figure.charts) == 6
    frame = Plot("p", "t", "d", shares("x"), shares("y"))
    for chart, segment in zip(figure.charts[:3], ("all", "repeat", "explore"), strict=True):
        expected = [
            frame.at(each["mean_probability"], each["positive_share"])
            for each in diagnostics.reliability[segment]["equal_width"]
        ]
        drawn = [
            (float(circle.attributes["cx"]), float(circle.attributes["cy"])) for circle in parsed(chart).all("circle")
        ]
        np.testing.assert_allclose(drawn, expected, atol=0.006)


def test_gains_and_lift_are_where_the_figures_say(diagnostics):
    figure = gains(diagnostics)
    lines = [path for path in parsed(figure.charts[0]).all("path") if path.attributes["class"] == "line s1"]
    frame = Plot("p", "t", "d", shares("x"), shares("y"), width=440)
    points = [tuple(map(float, pair.split(","))) for pair in lines[0].attributes["d"][1:].split("L")]
    np.testing.assert_allclose(points, [frame.at(x, y) for x, y in diagnostics.gains], atol=0.006)

    bars = [bar for bar in parsed(lift(diagnostics).charts[0]).all("rect") if bar.attributes["class"] == "bar s1"]
    heights = [float(bar.attributes["height"]) for bar in bars[:10]]
    ratio = heights[0] / diagnostics.lift_per_decile[0]
    np.testing.assert_allclose(heights, [ratio * each for each in diagnostics.lift_per_decile], atol=0.02)


@pytest.mark.parametrize(
    ("figure", "low", "high", "said"),
    [
        ("log_loss", -0.2, -0.1, "better"),
        ("log_loss", 0.1, 0.2, "worse"),
        ("log_loss", -0.1, 0.1, "no different"),
        ("macro_auc", 0.1, 0.2, "better"),
        ("macro_auc", -0.2, -0.1, "worse"),
        ("ndcg_at_10", math.nan, math.nan, "no different"),
    ],
)
def test_an_interval_decides_or_does_not(figure, low, high, said):
    assert verdict(figure, Interval((low + high) / 2, low, high)) == said


def test_differences_are_drawn_beside_zero():
    found = {
        "first": {"log_loss": Interval(-0.02, -0.03, -0.01)},
        "second": {"log_loss": Interval(0.01, -0.01, 0.03)},
    }
    (chart,) = differences(found, "caption").charts
    drawn = parsed(chart)
    assert "Better than 1 of 2" in drawn.one("desc").text
    zero = float(re.match(r"M([\d.]+)", drawn.one("path", **{"class": "zero"}).attributes["d"])[1])
    assert float(drawn.one("circle").attributes["cx"]) < zero  # better: a circle
    (square,) = [rect for rect in drawn.all("rect") if "point" in rect.attributes["class"]]
    assert float(square.attributes["x"]) + 3.6 > zero
    # Same scale: the second is half as far away.
    away = zero - float(drawn.one("circle").attributes["cx"])
    assert float(square.attributes["x"]) + 3.6 - zero == pytest.approx(away / 2, abs=0.02)


def test_each_net_of_an_ensemble_has_its_own_line():
    history = [
        {"stage": stage, "seed": seed, "epoch": epoch, "train": 0.3 / epoch, "validation": held_out}
        for stage, held_out in (("fit", 0.2), ("refit", None)) for seed in (7, 8) for epoch in (1, 2, 3)
    ]  # fmt: skip
    figure = training(history)
    first, second = map(parsed, figure.charts)
    long = [path for path in first.all("path") if path.attributes["class"].startswith("line")]
    assert len([path for path in long if path.attributes["d"].count("L") == 2]) == 4
    assert "2 nets" in first.one("desc").text
    assert "validation" not in second.text
    assert [column.title for column in figure.table.columns][:3] == ["stage", "seed", "epoch"]
    assert len(figure.table.rows) == len(history)
