"""The evaluation in blocks against the one with everything in memory."""

from __future__ import annotations

import math
import time
import tracemalloc
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.sparse import csr_array, csr_matrix
from scipy.special import expit

from propensity.errors import InputError
from propensity.evaluation import (
    Diagnostics,
    Evaluation,
    Segment,
    StreamingEvaluation,
    diagnose,
    evaluate,
    evaluate_blocks,
)
from propensity.evaluation.streaming import BINNED_FIGURES
from propensity.evaluation.window_sums import KINDS

from .random_pairs import random_pairs


def window(customers: int, categories: int, seed: int = 7):
    """Labels, probabilities that deserve belief, and repeat pairs, which are likelier."""
    generator = np.random.default_rng(seed)
    repeat = generator.random((customers, categories), dtype=np.float32) < 0.3
    log_odds = generator.standard_normal((customers, categories), dtype=np.float32)
    log_odds += generator.standard_normal(categories, dtype=np.float32) - 3 + 2 * repeat
    probabilities = expit(log_odds)
    return generator.random((customers, categories), dtype=np.float32) < probabilities, probabilities, repeat


def blocks(arrays, size: int):
    for first in range(0, len(arrays[0]), size):
        yield tuple(array[first : first + size] for array in arrays)


def assert_same(streamed, exact: Evaluation, rounding: float = 1e-9) -> None:
    """Every figure is the exact one, up to rounding or, where it is binned, its bound."""
    assert (streamed.evaluation.households, streamed.evaluation.categories) == (exact.households, exact.categories)
    for segment in KINDS:
        assert set(streamed.bounds[segment]) == set(BINNED_FIGURES)
        for field in fields(Segment):
            figure = getattr(getattr(streamed.evaluation, segment), field.name)
            expected = getattr(getattr(exact, segment), field.name)
            room = streamed.bounds[segment].get(field.name, 0) + rounding
            if math.isnan(expected):
                assert math.isnan(figure), (segment, field.name)
            else:
                assert abs(figure - expected) <= room, (segment, field.name)


@settings(deadline=None, max_examples=25)
@given(random_pairs())
def test_any_small_window(case) -> None:
    labels, probabilities, mask = case
    arrays = (labels, probabilities, np.zeros_like(labels) if mask is None else mask)
    known = {"training_label_counts": np.arange(labels.shape[1]), "n_training_examples": 100}
    assert_same(evaluate_blocks(blocks(arrays, 5), labels.shape[1], **known), evaluate(*arrays, **known))


@pytest.mark.parametrize("digits", [1, 2, 8])
def test_macro_figures(digits) -> None:
    labels, probabilities, repeat = window(1500, 20)
    arrays = (labels, probabilities.round(digits), repeat)
    exact = evaluate(*arrays)
    streamed = evaluate_blocks(blocks(arrays, 400), 20)
    assert exact.all.macro_categories > 10
    assert_same(streamed, exact)
    assert streamed.bounds["all"]["micro_auc"] < (2e-4 if digits == 8 else 1)


def test_the_bins_are_fine_enough() -> None:
    arrays = window(3000, 40)
    exact, streamed = evaluate(*arrays), evaluate_blocks(blocks(arrays, 1000), 40)
    for segment in KINDS:
        for figure, most in {
            "ece_equal_mass": 1e-4,
            "micro_auc": 1e-6,
            "micro_average_precision": 1e-5,
            "macro_auc": 5e-4,
            "macro_average_precision": 5e-4,
            "top_decile_lift": 0.02,
        }.items():
            error = getattr(getattr(streamed.evaluation, segment), figure) - getattr(getattr(exact, segment), figure)
            assert abs(error) < most, (segment, figure)
        assert streamed.bounds[segment]["micro_auc"] < 5e-5
        assert streamed.bounds[segment]["macro_auc"] < 5e-3


def test_size_and_order_of_blocks_do_not_matter(monkeypatch) -> None:
    arrays = window(300, 15)
    order = np.random.default_rng(1).permutation(300)
    one = evaluate_blocks([arrays], 15).evaluation
    monkeypatch.setattr("propensity.evaluation.streaming.PAIRS_AT_ONCE", 15 * 23)
    other = evaluate_blocks(blocks([array[order] for array in arrays], 70), 15).evaluation
    for segment in KINDS:
        assert vars(getattr(one, segment)) == pytest.approx(vars(getattr(other, segment)), rel=1e-12, nan_ok=True)


def test_sparse_blocks_are_dense_ones() -> None:
    labels, probabilities, repeat = window(200, 15)
    classes = labels.astype(np.int8) * 2
    dense = evaluate_blocks([(classes, probabilities, repeat)], 15)
    sparse = evaluate_blocks([(csr_matrix(classes), probabilities, csr_array(repeat))], 15)
    assert sparse.evaluation.to_dict() == dense.evaluation.to_dict()
    assert sparse.bounds == dense.bounds


def test_figures_are_there_at_any_time() -> None:
    streaming = StreamingEvaluation(15)
    assert math.isnan(streaming.result().all.log_loss)
    assert math.isnan(streaming.bounds()["all"]["micro_auc"])
    arrays = window(200, 15)
    for count, block in enumerate(blocks(arrays, 100), start=1):
        streaming.update(*block)
        exact = evaluate(*(array[: 100 * count] for array in arrays))
        assert streaming.result().all.log_loss == pytest.approx(exact.all.log_loss, rel=1e-12)
        assert streaming.result().households == 100 * count


def test_diagnostics_are_those_of_the_window_in_memory() -> None:
    arrays, names = window(2000, 20), [f"category {number}" for number in range(20)]
    exact, streaming = diagnose(*arrays, names), StreamingEvaluation(20)
    for block in blocks(arrays, 700):
        streaming.update(*block)
    figures = streaming.diagnose(names)
    assert_same_curves(figures, exact)
    for row, expected in zip(figures.per_category, exact.per_category, strict=True):
        for name, value in expected.items():
            room = {"roc_auc": 2e-3, "average_precision": 2e-2, "top_decile_lift": 0.3}.get(name, 1e-6)
            assert row[name] == (value if isinstance(value, str) else pytest.approx(value, abs=room)), name
    for one, other in zip(figures.score_histogram, exact.score_histogram, strict=True):
        assert one == pytest.approx(other, abs=5)
    assert sum(each["positives"] for each in figures.score_histogram) == arrays[0].sum()
    assert sum(each["negatives"] for each in figures.score_histogram) == (~arrays[0]).sum()
    with pytest.raises(InputError, match="19 category names for 20 columns"):
        streaming.diagnose(names[:19])
    empty = StreamingEvaluation(20).diagnose(names)
    assert empty.reliability["all"] == {"equal_width": [], "equal_mass": []}
    assert empty.to_dict()["per_category"][0]["roc_auc"] is None


def assert_same_curves(figures: Diagnostics, exact: Diagnostics) -> None:
    for segment in KINDS:
        for bins, near in (("equal_width", 1e-12), ("equal_mass", 1e-3)):
            for one, other in zip(figures.reliability[segment][bins], exact.reliability[segment][bins], strict=True):
                assert one == pytest.approx(other, abs=near, rel=near * 10), (segment, bins)
        for one, other in zip(figures.top_lists[segment], exact.top_lists[segment], strict=True):
            assert one == pytest.approx(other)
        for name in ("macro", "pooled"):
            for points in zip(figures.segment_gains[segment][name], exact.segment_gains[segment][name], strict=True):
                assert points[0] == pytest.approx(points[1], abs=2e-3), (segment, name)
            assert len(figures.segment_lift[segment][name]) == 10


def test_wrong_blocks_are_refused_before_anything_is_added() -> None:
    labels, probabilities, repeat = window(20, 4)
    streaming = StreamingEvaluation(4)
    with pytest.raises(InputError, match=r"expected \(n_customers, 4\)"):
        streaming.update(labels[:, :3], probabilities[:, :3], repeat[:, :3])
    with pytest.raises(InputError, match="shapes"):
        streaming.update(labels[:10], probabilities, repeat)
    with pytest.raises(InputError, match="NaN"):
        streaming.update(labels, probabilities * np.nan, repeat)
    with pytest.raises(InputError, match="mask must be bool"):
        streaming.update(labels, probabilities, repeat.astype(int))
    assert streaming.result().households == 0
    with pytest.raises(InputError, match="4 categories"):
        StreamingEvaluation(4, training_label_counts=[1], n_training_examples=50)


def test_memory_does_not_grow_with_customers() -> None:
    block = window(500, 200)
    streaming, kept = StreamingEvaluation(200), []
    streaming.update(*block)
    tracemalloc.start()
    for _ in range(3):
        streaming.update(*block)
        kept.append(tracemalloc.get_traced_memory()[0])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert streaming.result().households == 2000
    assert abs(kept[-1] - kept[0]) < 100_000  # a copy of the block's labels alone
    assert peak < 40e6


@pytest.mark.slow
def test_a_million_customers_by_2000_categories() -> None:
    """Measured on 20,000 customers and scaled by 50: every block of as many customers costs the same."""
    customers, categories = 20_000, 2000
    streaming = StreamingEvaluation(categories)
    seconds, peak = 0.0, 0
    for seed in range(customers // 2000):
        block = window(2000, categories, seed)
        tracemalloc.start()
        started = time.process_time()
        streaming.update(*block)
        seconds += time.process_time() - started
        peak = max(peak, tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    started = time.process_time()
    evaluation, bounds = streaming.result(), streaming.bounds()
    at_the_end = time.process_time() - started
    state = streaming._sums.nbytes
    print(
        f"{customers:,} x {categories:,}: {seconds:.0f} s of blocks, {at_the_end:.0f} s at the end, "
        f"{state / 1e6:.0f} MB held, {peak / 1e6:.0f} MB more inside a block; so 1,000,000 x {categories:,} take "
        f"about {seconds * 1_000_000 / customers / 60 + at_the_end / 60:.0f} minutes in the same memory (extrapolated)"
    )
    print(evaluation.all, bounds["all"])
    assert evaluation.households == customers
    assert state < 45e6
    assert peak < 300e6
