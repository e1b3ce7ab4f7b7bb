"""One model's figures together, and the bootstrap between two models."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings

from propensity.errors import InputError
from propensity.evaluation import Evaluation, evaluate, log_loss_difference, metrics, ranking

from .random_pairs import random_pairs


def random_window(seed: int = 7, customers: int = 60, categories: int = 12):
    generator = np.random.default_rng(seed)
    chance = generator.random((customers, categories))
    return generator.random(chance.shape) < chance, chance.astype(np.float32), chance > 0.4


@settings(deadline=None)
@given(random_pairs())
def test_segments_are_the_metrics_under_their_masks(case) -> None:
    labels, probabilities, mask = case
    repeat = np.zeros_like(labels) if mask is None else mask
    counts = np.arange(labels.shape[1])
    evaluation = evaluate(labels, probabilities, repeat, training_label_counts=counts, n_training_examples=100)
    for segment, pairs in (
        (evaluation.all, None),
        (evaluation.repeat, repeat),
        (evaluation.explore, ~repeat),
    ):
        arrays = (labels, probabilities, pairs)
        chosen = np.ones_like(labels) if pairs is None else pairs
        expected = {
            "pairs": chosen.sum(),
            "positives": (labels & chosen).sum(),
            "households_with_positive": (labels & chosen).any(axis=1).sum(),
            "macro_categories": 0,  # random pairs have 12 customers, fewer than 20
            "log_loss": metrics.log_loss(*arrays),
            "brier": metrics.brier(*arrays),
            "ece": metrics.expected_calibration_error(*arrays),
            "ece_equal_mass": metrics.expected_calibration_error(*arrays, bins="equal_mass"),
            "micro_auc": metrics.micro_auc(*arrays),
            "macro_auc": math.nan,
            "micro_average_precision": metrics.micro_average_precision(*arrays),
            "macro_average_precision": math.nan,
            "ndcg_at_10": ranking.ndcg(*arrays),
            "recall_at_10": ranking.recall(*arrays),
            "precision_at_10": ranking.precision(*arrays),
            "propensity_scored_precision_at_10": ranking.propensity_scored_precision(
                *arrays, training_label_counts=counts, n_training_examples=100
            ),
            "top_decile_lift": math.nan,
        }
        assert vars(segment) == pytest.approx(expected, nan_ok=True)


def test_macro_figures_of_a_segment_take_its_own_categories() -> None:
    labels, probabilities, repeat = random_window()
    evaluation = evaluate(labels, probabilities, repeat)
    assert evaluation.all.macro_auc == metrics.macro_auc(labels, probabilities)
    assert evaluation.explore.top_decile_lift == pytest.approx(
        ranking.top_decile_lift(labels, probabilities, ~repeat), nan_ok=True
    )
    assert evaluation.all.macro_categories == ((labels.sum(axis=0) >= 20) & ~labels.all(axis=0)).sum() > 0


def test_to_dict_is_json_with_null_for_what_is_not_defined() -> None:
    labels, probabilities, repeat = random_window()
    evaluation = evaluate(labels, probabilities, repeat)
    figures = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert Evaluation.from_dict(figures).to_dict() == figures
    assert figures["households"] == 60
    assert figures["all"]["log_loss"] == evaluation.all.log_loss
    assert figures["repeat"]["propensity_scored_precision_at_10"] is None


def test_figures_written_before_average_precision_was_one_are_read() -> None:
    evaluation = evaluate(*random_window())
    figures = evaluation.to_dict()
    del figures["all"]["micro_average_precision"]
    read = Evaluation.from_dict(figures)
    assert math.isnan(read.all.micro_average_precision)
    assert read.all.micro_auc == evaluation.all.micro_auc
    assert read.explore.micro_average_precision == evaluation.explore.micro_average_precision


def test_order_of_households_does_not_matter() -> None:
    labels, probabilities, repeat = random_window()
    probabilities = probabilities.round(1)
    order = np.random.default_rng(1).permutation(len(labels))
    one = evaluate(labels, probabilities, repeat)
    other = evaluate(labels[order], probabilities[order], repeat[order])
    for segment in ("all", "repeat", "explore"):
        assert vars(getattr(one, segment)) == pytest.approx(vars(getattr(other, segment)), nan_ok=True)


def test_an_empty_window_has_no_figures_and_no_warning() -> None:
    evaluation = evaluate(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3), dtype=bool))
    assert isinstance(evaluation, Evaluation)
    assert math.isnan(evaluation.all.log_loss)
    assert math.isnan(evaluation.all.ndcg_at_10)


def test_evaluate_refuses_wrong_input() -> None:
    labels, probabilities, repeat = random_window()
    with pytest.raises(InputError, match="repeat must be bool"):
        evaluate(labels, probabilities, repeat.astype(int))
    with pytest.raises(InputError, match="give both or neither"):
        evaluate(labels, probabilities, repeat, training_label_counts=np.ones(12))
    with pytest.raises(InputError, match="12 categories"):
        evaluate(labels, probabilities, repeat, training_label_counts=[1], n_training_examples=50)


def test_bootstrap_is_paired_and_repeats_by_seed() -> None:
    labels, probabilities, repeat = random_window()
    other = np.full_like(probabilities, labels.mean())
    interval = log_loss_difference(labels, probabilities, other, seed=3)
    assert interval == log_loss_difference(labels, probabilities, other, seed=3)
    assert interval != log_loss_difference(labels, probabilities, other, seed=4)
    assert interval.mean == pytest.approx(metrics.log_loss(labels, probabilities) - metrics.log_loss(labels, other))
    assert interval.low < interval.mean < interval.high < 0
    same = log_loss_difference(labels, probabilities, probabilities)
    assert same.to_dict() == {"mean": 0, "low": 0, "high": 0}
    wider = log_loss_difference(labels, probabilities, other, seed=3, level=0.99)
    assert wider.low < interval.low < interval.high < wider.high
    masked = log_loss_difference(labels, probabilities, other, repeat)
    assert masked.mean == pytest.approx(
        metrics.log_loss(labels, probabilities, repeat) - metrics.log_loss(labels, other, repeat)
    )


def test_bootstrap_is_the_plain_loop() -> None:
    labels, probabilities, repeat = random_window(customers=9, categories=4)
    repeat[0] = False  # left out: it has no pair
    other = np.full_like(probabilities, 0.5)
    generator, means = np.random.default_rng(5), []
    households = [i for i in range(9) if repeat[i].any()]
    for _ in range(50):
        drawn = [households[position] for position in generator.integers(len(households), size=len(households))]
        arrays = (labels[drawn], repeat[drawn])
        means.append(
            metrics.log_loss(arrays[0], probabilities[drawn], arrays[1])
            - metrics.log_loss(arrays[0], other[drawn], arrays[1])
        )
    interval = log_loss_difference(labels, probabilities, other, repeat, level=0.8, resamples=50, seed=5)
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(means, (0.1, 0.9))))


def test_bootstrap_interval_is_the_normal_one_on_many_households() -> None:
    labels, probabilities, _ = random_window(customers=3000, categories=2)
    other = np.full_like(probabilities, 0.5)
    losses = [-np.log(np.where(labels, p, 1 - p)).mean(axis=1) for p in (np.clip(probabilities, 1e-5, 1 - 1e-5), other)]
    difference = losses[0] - losses[1]
    half = 1.96 * difference.std() / math.sqrt(len(difference))
    interval = log_loss_difference(labels, probabilities, other)
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.1)


def test_bootstrap_refuses_wrong_input() -> None:
    labels, probabilities, _ = random_window()
    with pytest.raises(InputError, match="0 < level < 1"):
        log_loss_difference(labels, probabilities, probabilities, level=95)
    with pytest.raises(InputError, match="No pair counts"):
        log_loss_difference(labels, probabilities, probabilities, np.zeros_like(labels))
