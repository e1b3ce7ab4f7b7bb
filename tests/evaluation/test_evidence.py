"""What a report keeps beside its figures: the same as computed one by one, and whole after a round through JSON."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from propensity.evaluation import HoldoutWindow, differences, log_loss_difference, measuring
from propensity.evaluation.evidence import Evidence, evidence_of
from propensity.evaluation.measuring import RANKED, RANKED_DRAWS, SUMMED, measure
from propensity.evaluation.slices import Group, slices_of

NAMES = tuple("abcdef")


@pytest.fixture(scope="module")
def window() -> HoldoutWindow:
    rng = np.random.default_rng(4)
    return HoldoutWindow(
        customer_id=np.array([f"c{row}" for row in range(90)], object),
        categories=NAMES,
        category_index=np.arange(6, dtype=np.int32),
        labels=rng.random((90, 6)) < [0.6, 0.5, 0.4, 0.3, 0.1, 0.0],
        repeat=rng.random((90, 6)) < 0.4,
        training_label_counts=np.arange(6, dtype=np.int64),
        n_training_examples=100,
    )


@pytest.fixture(scope="module")
def scores() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    return {name: rng.beta(1, 3, size=(90, 6)).astype(np.float32) for name in ("net", "first", "second")}


@pytest.fixture(scope="module")
def evidence(window, scores) -> Evidence:
    rivals = {name: scores[name] for name in ("first", "second")}
    return evidence_of(window, scores["net"], rivals, [Group("g", "v", np.arange(30))])


def test_differences_are_those_of_each_pair_of_models(window, scores, evidence):
    assert list(evidence.differences) == ["first", "second"]
    for name, found in evidence.differences.items():
        labels, mine, theirs = window.labels, scores["net"], scores[name]
        expected = differences(labels, mine, theirs, figures=SUMMED)
        expected |= differences(labels, mine, theirs, figures=RANKED, resamples=RANKED_DRAWS)
        expected["log_loss_of_repeat"] = log_loss_difference(labels, mine, theirs, window.repeat)
        expected["log_loss_of_explore"] = log_loss_difference(labels, mine, theirs, ~window.repeat)
        assert found == expected


def test_the_rest_is_the_models(window, scores, evidence):
    assert evidence.diagnostics.to_dict() == window.diagnose(scores["net"]).to_dict()
    assert evidence.slices == slices_of(window.labels, scores["net"], [Group("g", "v", np.arange(30))])


def test_json_and_back(evidence):
    again = Evidence.from_dict(json.loads(json.dumps(evidence.to_dict(), allow_nan=False)))
    assert again == evidence
    # A category without a positive has no AUC: that is a gap in both.
    assert again.to_dict()["diagnostics"]["per_category"][5]["roc_auc"] is None
    assert math.isnan(again.diagnostics.per_category[5]["roc_auc"])
    assert again != Evidence(evidence.diagnostics, {}, evidence.slices, {})


def test_a_window_without_repeat_pairs_has_no_difference_there(window, scores):
    explore = HoldoutWindow(**{**vars(window), "repeat": np.zeros_like(window.repeat)})
    found = evidence_of(explore, scores["net"], {"first": scores["first"]}, []).differences["first"]
    assert "log_loss_of_repeat" not in found
    assert found["log_loss_of_explore"] == found["log_loss"]


def test_a_large_window_is_measured_from_sums_and_bins(window, scores, evidence, monkeypatch):
    exact = {name: measure(window, scores[name]) for name in scores}
    assert all(each.bounds == {} for each in exact.values())
    monkeypatch.setattr(measuring, "EXACT_PAIRS", window.labels.size - 1)
    streamed = {name: measure(window, scores[name]) for name in scores}
    for name, each in streamed.items():
        for segment, figures in each.bounds.items():
            of_all = vars(getattr(exact[name].evaluation, segment))
            for figure, value in vars(getattr(each.evaluation, segment)).items():
                assert value == pytest.approx(of_all[figure], abs=figures.get(figure, 0) + 1e-9, nan_ok=True), figure
    rivals = {name: scores[name] for name in ("first", "second")}
    bounds = {name: each.bounds for name, each in streamed.items()}
    found = evidence_of(window, scores["net"], rivals, [Group("g", "v", np.arange(30))], bounds)
    assert found.bounds == bounds
    assert Evidence.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found
    assert found.slices == evidence.slices
    for rival, intervals in found.differences.items():
        assert set(intervals) == {*SUMMED, "log_loss_of_repeat", "log_loss_of_explore"}
        for figure, interval in intervals.items():
            before = evidence.differences[rival][figure]
            assert interval.mean == pytest.approx(before.mean, abs=1e-9)
            assert interval.high - interval.low == pytest.approx(before.high - before.low, rel=0.25)
    for before, after in zip(evidence.diagnostics.per_category, found.diagnostics.per_category, strict=True):
        assert after["log_loss"] == pytest.approx(before["log_loss"])
        assert after["roc_auc"] == pytest.approx(before["roc_auc"], abs=0.03, nan_ok=True)
