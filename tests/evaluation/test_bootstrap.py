"""Paired bootstrap intervals against drawing the rows and computing the metric again."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.special import expit

from propensity.errors import InputError
from propensity.evaluation import Segment, differences, log_loss_difference, metrics, ranking, resampling
from propensity.evaluation.bootstrap import DEFAULT_FIGURES
from propensity.evaluation.pairs import Pairs

from .random_pairs import random_pairs

METRICS = {
    "log_loss": metrics.log_loss,
    "brier": metrics.brier,
    "ece": metrics.expected_calibration_error,
    "micro_auc": metrics.micro_auc,
    "macro_auc": metrics.macro_auc,
    "micro_average_precision": metrics.micro_average_precision,
    "macro_average_precision": metrics.macro_average_precision,
    "ndcg_at_10": ranking.ndcg,
    "recall_at_10": ranking.recall,
    "precision_at_10": ranking.precision,
}
MACRO = {"macro_auc": metrics.roc_auc, "macro_average_precision": metrics.average_precision}


def two_models(customers: int = 70, categories: int = 14):
    """Labels, two models' probabilities with ties inside and between households, and the repeat pairs."""
    generator = np.random.default_rng(7)
    chance = generator.random((customers, categories))
    labels = generator.random(chance.shape) < chance
    worse = expit(np.log(chance / (1 - chance)) + generator.normal(0, 1, chance.shape))
    return labels, chance.round(1).astype(np.float32), worse.astype(np.float32), chance > 0.3


def test_every_figure_is_one_of_the_evaluation() -> None:
    assert set(METRICS) == set(resampling.FIGURES)
    assert set(resampling.FIGURES) <= set(Segment.__dataclass_fields__)
    assert set(DEFAULT_FIGURES) <= set(resampling.FIGURES)


@settings(deadline=None, max_examples=50)
@given(random_pairs())
def test_weight_one_gives_the_metric(case) -> None:
    once = np.ones((len(case[0]), 1), dtype=np.int32)
    for name, metric in METRICS.items():
        figure = resampling.FIGURES[name](Pairs.of(*case))(once)
        assert figure == pytest.approx([metric(*case)], abs=1e-12, nan_ok=True), name


@settings(deadline=None, max_examples=50)
@given(random_pairs())
def test_weights_are_repeated_rows(case) -> None:
    weights = np.random.default_rng(len(case[0])).integers(0, 4, len(case[0]))
    rows = np.repeat(np.arange(len(weights)), weights)
    drawn = tuple(None if array is None else array[rows] for array in case)
    for name in set(METRICS) - set(MACRO):
        figure = resampling.FIGURES[name](Pairs.of(*case))(weights[:, None].astype(np.int32))
        assert figure == pytest.approx([METRICS[name](*drawn)], abs=1e-9, nan_ok=True), name


@pytest.mark.parametrize("masked", [False, True])
def test_intervals_are_the_plain_loop(masked) -> None:
    labels, first, second, repeat = two_models()
    repeat[0] = False  # left out where the mask counts: it has no pair
    mask = repeat if masked else None
    households = np.flatnonzero(repeat.any(axis=1)) if masked else np.arange(len(labels))
    columns = Pairs.of(labels, first, mask).macro_categories()
    assert len(columns) > 1

    def figure(name, model, rows):
        pairs = Pairs.of(labels[rows], model[rows], None if mask is None else mask[rows])
        if name in MACRO:
            return np.mean([MACRO[name](*pairs.category(column)) for column in columns])
        return METRICS[name](pairs.positive, pairs.probability, pairs.mask)

    generator, drawn = np.random.default_rng(5), {name: [] for name in METRICS}
    for _ in range(30):
        rows = households[generator.integers(len(households), size=len(households))]
        for name, values in drawn.items():
            values.append(figure(name, first, rows) - figure(name, second, rows))
    intervals = differences(labels, first, second, mask, figures=tuple(METRICS), level=0.8, resamples=30, seed=5)
    assert list(intervals) == list(METRICS)
    for name, interval in intervals.items():
        expected = METRICS[name](labels, first, mask) - METRICS[name](labels, second, mask)
        assert interval.mean == pytest.approx(expected, abs=1e-12), name
        assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(drawn[name], (0.1, 0.9)))), name


def test_draws_in_parts_are_the_same_draws(monkeypatch) -> None:
    labels, first, second, _ = two_models()
    whole = differences(labels, first, second, resamples=25)
    monkeypatch.setattr("propensity.evaluation.bootstrap.WEIGHTS_AT_ONCE", 7 * len(labels))
    parts = differences(labels, first, second, resamples=25)
    for name, interval in whole.items():
        assert vars(parts[name]) == pytest.approx(vars(interval))


def test_log_loss_has_one_interval_whatever_else_is_asked_for() -> None:
    labels, first, second, repeat = two_models()
    every = differences(labels, first, second, repeat, resamples=50, seed=3)
    assert tuple(every) == DEFAULT_FIGURES
    assert every["log_loss"] == log_loss_difference(labels, first, second, repeat, resamples=50, seed=3)


def test_a_model_does_not_differ_from_itself() -> None:
    labels, first, _, _ = two_models()
    for interval in differences(labels, first, first, resamples=20, figures=tuple(METRICS)).values():
        assert interval.to_dict() == {"mean": 0, "low": 0, "high": 0}


def test_figures_without_a_positive_are_not_numbers_and_draws_without_one_do_not_count() -> None:
    none = differences(np.zeros((5, 2)), np.full((5, 2), 0.1), np.full((5, 2), 0.2), resamples=20)
    assert none["log_loss"].high < 0
    assert all(math.isnan(value) for value in vars(none["micro_auc"]).values())
    assert all(math.isnan(value) for value in vars(none["ndcg_at_10"]).values())
    one = np.zeros((5, 2), dtype=bool)
    one[0, 0] = True  # 0.8 ^ 5 = 1/3 of the draws lack this household
    some = differences(one, one * 0.9, np.full((5, 2), 0.5), resamples=50, figures=("micro_auc",))["micro_auc"]
    assert vars(some) == {"mean": 0.5, "low": 0.5, "high": 0.5}


def test_wrong_input_is_refused() -> None:
    labels, first, second, _ = two_models()
    with pytest.raises(InputError, match=r"no figure 'micro_acu'\. Did you mean 'micro_auc'"):
        differences(labels, first, second, figures=("micro_acu",))
    with pytest.raises(InputError, match="resamples >= 1"):
        differences(labels, first, second, resamples=0)


@pytest.mark.slow
def test_a_thousand_draws_of_complete_journeys_size_take_seconds() -> None:
    labels, first, second, _ = two_models(2452, 301)
    started = time.process_time()
    intervals = differences(labels, first, second)
    seconds = time.process_time() - started
    print(f"{seconds:.1f} s for {len(intervals)} figures, 1,000 draws, 2,452 x 301 pairs")
    assert seconds < 60
