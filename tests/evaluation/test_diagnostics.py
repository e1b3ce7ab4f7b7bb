"""What a report draws: reliability curves, and the other figures where the metrics have them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from propensity.errors import InputError
from propensity.evaluation import Diagnostics, HoldoutWindow, diagnose, metrics, ranking
from propensity.evaluation.reliability import reliability_curve

from .random_pairs import random_pairs

NAMES = [f"category {number}" for number in range(12)]


@pytest.fixture(scope="module")
def arrays() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(7)
    chance = generator.random((80, 12))
    labels = generator.random(chance.shape) < chance
    labels[:, 11] = False
    return labels, chance.astype(np.float32), chance > 0.4


@pytest.fixture(scope="module")
def diagnostics(arrays) -> Diagnostics:
    return diagnose(*arrays, NAMES)


@settings(deadline=None)
@given(random_pairs(), st.sampled_from(["equal_width", "equal_mass"]))
def test_the_curve_gives_the_calibration_error(case, bins) -> None:
    curve = reliability_curve(*case, bins=bins)
    total = sum(each.pairs for each in curve)
    figure = metrics.expected_calibration_error(*case, bins=bins)
    if not total:
        assert math.isnan(figure)
        return
    error = sum(each.pairs * abs(each.mean_probability - each.positive_share) for each in curve)
    assert error / total == pytest.approx(figure, abs=1e-12)
    assert all(each.low <= each.mean_probability <= each.high + 1e-12 for each in curve)


def test_equal_width_curve_is_scikit_learns(arrays) -> None:
    labels, probabilities, _ = arrays
    shares, means = calibration_curve(labels.ravel(), probabilities.ravel(), n_bins=15)
    curve = reliability_curve(labels, probabilities)
    assert [each.positive_share for each in curve] == pytest.approx(list(shares))
    assert [each.mean_probability for each in curve] == pytest.approx(list(means))


def test_equal_mass_bins_have_equal_mass(arrays) -> None:
    assert {each.pairs for each in reliability_curve(*arrays[:2], bins="equal_mass")} == {80 * 12 // 15}


def test_segments_have_their_own_figures(arrays, diagnostics) -> None:
    labels, probabilities, repeat = arrays
    for segment, mask in (("all", None), ("repeat", repeat), ("explore", ~repeat)):
        masked = (labels, probabilities, mask)
        curve = reliability_curve(*masked, bins="equal_mass")
        assert diagnostics.reliability[segment]["equal_mass"] == [vars(each) for each in curve]
        lift = diagnostics.segment_lift[segment]
        assert lift["macro"][0] == pytest.approx(ranking.top_decile_lift(*masked), nan_ok=True)
        assert len(lift["pooled"]) == 10
        for name in ("macro", "pooled"):
            points = diagnostics.segment_gains[segment][name]
            assert [x for x, _ in points] == [decile / 10 for decile in range(11)]
        assert diagnostics.segment_gains[segment]["pooled"][-1] == [1, 1]
        at_10 = next(each for each in diagnostics.top_lists[segment] if each["k"] == 10)
        assert at_10 == {
            "k": 10,
            "ndcg": ranking.ndcg(*masked),
            "recall": ranking.recall(*masked),
            "precision": ranking.precision(*masked),
        }
    assert diagnostics.gains == diagnostics.segment_gains["all"]["macro"]
    assert diagnostics.lift_per_decile == diagnostics.segment_lift["all"]["macro"]


def test_a_row_for_each_category(arrays, diagnostics) -> None:
    labels, probabilities, _ = arrays
    assert [row["category"] for row in diagnostics.per_category] == NAMES
    row, y, p = diagnostics.per_category[3], labels[:, 3], probabilities[:, 3]
    assert row == {
        "category": "category 3",
        "pairs": 80,
        "support": y.sum(),
        "base_rate": pytest.approx(y.mean()),
        "mean_propensity": pytest.approx(p.mean()),
        "roc_auc": pytest.approx(sklearn.metrics.roc_auc_score(y, p)),
        "average_precision": pytest.approx(sklearn.metrics.average_precision_score(y, p)),
        "log_loss": pytest.approx(sklearn.metrics.log_loss(y, p)),
        "top_decile_lift": pytest.approx(ranking.top_decile_lift(labels[:, 3:4], probabilities[:, 3:4])),
    }
    without = diagnostics.per_category[11]
    assert without["support"] == without["base_rate"] == 0
    assert all(math.isnan(without[name]) for name in ("roc_auc", "average_precision", "top_decile_lift"))


def test_the_histogram_has_every_pair_once(arrays, diagnostics) -> None:
    labels, probabilities, _ = arrays
    assert sum(each["positives"] for each in diagnostics.score_histogram) == labels.sum()
    assert sum(each["negatives"] for each in diagnostics.score_histogram) == (~labels).sum()
    for each in diagnostics.score_histogram:
        inside = (probabilities > each["low"]) & (probabilities <= each["high"])
        assert each["positives"] == (labels & inside).sum()
    ends = diagnose(np.array([[True, False]]), np.array([[1.0, 0.0]]), np.zeros((1, 2), dtype=bool), ["a", "b"])
    assert ends.score_histogram[0]["negatives"] == ends.score_histogram[-1]["positives"] == 1


def test_json_and_back(diagnostics) -> None:
    figures = json.loads(json.dumps(diagnostics.to_dict(), allow_nan=False))
    assert figures["per_category"][11]["roc_auc"] is None
    assert figures["gains"][0] == [0, 0]
    assert len(figures["lift_per_decile"]) == 10
    again = Diagnostics.from_dict(figures)
    assert again.to_dict() == figures
    assert math.isnan(again.per_category[11]["roc_auc"])
    assert again.reliability == diagnostics.reliability


def test_a_window_diagnoses_its_own_pairs(arrays, diagnostics) -> None:
    labels, probabilities, repeat = arrays
    window = HoldoutWindow(
        customer_id=np.arange(80).astype(str).astype(object),
        categories=tuple(NAMES),
        category_index=np.arange(12, dtype=np.int32),
        labels=labels,
        repeat=repeat,
        training_label_counts=np.zeros(12, dtype=np.int64),
        n_training_examples=0,
    )
    assert window.diagnose(probabilities).to_dict() == diagnostics.to_dict()


def test_an_empty_window_has_no_figures_and_no_warning() -> None:
    empty = diagnose(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 2), dtype=bool), ["a", "b"])
    assert empty.reliability["all"] == {"equal_width": [], "equal_mass": []}
    assert empty.to_dict()["per_category"][0]["base_rate"] is None
    assert np.isnan(empty.lift_per_decile).all()


def test_wrong_input_is_refused(arrays) -> None:
    labels, probabilities, repeat = arrays
    with pytest.raises(InputError, match="11 category names for 12 columns"):
        diagnose(labels, probabilities, repeat, NAMES[:11])
    with pytest.raises(InputError, match="mask must be bool"):
        diagnose(labels, probabilities, repeat.astype(int), NAMES)
