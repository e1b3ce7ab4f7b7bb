"""Metrics of rankings against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from propensity.errors import InputError
from propensity.evaluation import ranking
from propensity.evaluation.pairs import Pairs

from .random_pairs import random_pairs

CUTS = st.integers(1, 10)


def top_lists(labels, probabilities, mask, k):
    """Yield (first k categories, positives) of customers with a positive, ties by category."""
    for i in range(len(labels)):
        candidates = [j for j in range(labels.shape[1]) if mask is None or mask[i, j]]
        positives = {j for j in candidates if labels[i, j]}
        if positives:
            yield sorted(candidates, key=lambda j: (-probabilities[i, j], j))[:k], positives


def mean(values):
    return float(np.mean(values)) if values else math.nan


@settings(deadline=None)
@given(random_pairs(), CUTS)
def test_ndcg(case, k) -> None:
    figures = []
    for top, positives in top_lists(*case, k):
        gain = sum(1 / math.log2(rank + 2) for rank, j in enumerate(top) if j in positives)
        figures.append(gain / sum(1 / math.log2(rank + 2) for rank in range(min(k, len(positives)))))
    assert ranking.ndcg(*case, k=k) == pytest.approx(mean(figures), abs=1e-12, nan_ok=True)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_ndcg_without_ties_is_scikit_learns(seed) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.random((6, 15)) < 0.4
    labels[:, 0] = True
    probabilities = generator.permuted(np.tile(np.linspace(0, 1, 15), (6, 1)), axis=1)
    expected = sklearn.metrics.ndcg_score(labels, probabilities, k=10)
    assert ranking.ndcg(labels, probabilities) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(random_pairs(), CUTS)
def test_recall_and_precision(case, k) -> None:
    lists = list(top_lists(*case, k))
    recalls = [len(positives & set(top)) / len(positives) for top, positives in lists]
    precisions = [len(positives & set(top)) / k for top, positives in lists]
    assert ranking.recall(*case, k=k) == pytest.approx(mean(recalls), abs=1e-12, nan_ok=True)
    assert ranking.precision(*case, k=k) == pytest.approx(mean(precisions), abs=1e-12, nan_ok=True)


@settings(deadline=None)
@given(random_pairs(), st.lists(CUTS, min_size=1, max_size=4))
def test_figures_at_several_cuts_are_those_at_each(case, ks) -> None:
    figures = ranking.list_figures(*case, ks=ks)
    assert list(figures) == list(dict.fromkeys(ks))
    for k, at_k in figures.items():
        expected = {
            "ndcg": ranking.ndcg(*case, k=k),
            "recall": ranking.recall(*case, k=k),
            "precision": ranking.precision(*case, k=k),
        }
        assert at_k == pytest.approx(expected, nan_ok=True)


@settings(deadline=None)
@given(random_pairs(), CUTS)
def test_the_first_k_are_those_of_a_stable_sort(case, k) -> None:
    values = -case[1]
    if case[2] is not None:
        values[~case[2]] = np.inf
    assert (ranking._smallest(values, k) == np.argsort(values, axis=1, kind="stable")[:, :k]).all()


@settings(deadline=None)
@given(random_pairs(), CUTS, st.integers(3, 1000), st.data())
def test_propensity_scored_precision(case, k, n_examples, data) -> None:
    n_categories = case[0].shape[1]
    counts = data.draw(st.lists(st.integers(0, n_examples), min_size=n_categories, max_size=n_categories))
    c = (math.log(n_examples) - 1) * 2.5**0.55
    weight = [1 + c * math.exp(-0.55 * math.log(count + 1.5)) for count in counts]
    reached = best = 0.0
    for top, positives in top_lists(*case, k):
        reached += sum(weight[j] for j in top if j in positives)
        best += sum(sorted((weight[j] for j in positives), reverse=True)[:k])
    figure = ranking.propensity_scored_precision(
        *case, training_label_counts=counts, n_training_examples=n_examples, k=k
    )
    assert figure == pytest.approx(reached / best if best else math.nan, abs=1e-9, nan_ok=True)


def test_a_rare_hit_is_worth_more_than_a_common_one() -> None:
    labels = np.array([[1, 1]])
    figures = [
        ranking.propensity_scored_precision(
            labels, np.array([p]), training_label_counts=[1000, 1], n_training_examples=2000, k=1
        )
        for p in ([0.9, 0.1], [0.1, 0.9])
    ]
    assert figures[0] < figures[1] == 1


@settings(deadline=None)
@given(random_pairs())
def test_top_decile_lift(case) -> None:
    labels, probabilities, mask = case
    lifts = []
    for j in range(labels.shape[1]):
        rows = [i for i in range(len(labels)) if mask is None or mask[i, j]]
        positives = sum(bool(labels[i, j]) for i in rows)
        if not 2 <= positives < len(rows):
            continue
        room, captured = len(rows) / 10, 0.0
        for level in sorted({probabilities[i, j] for i in rows}, reverse=True):
            tied = [i for i in rows if probabilities[i, j] == level]
            captured += min(1, room / len(tied)) * sum(bool(labels[i, j]) for i in tied)
            room = max(0, room - len(tied))
        lifts.append(captured / positives / 0.1)
    figure = ranking.top_decile_lift(*case, min_positives=2)
    assert figure == pytest.approx(mean(lifts), abs=1e-9, nan_ok=True)


def test_lift_of_known_cases() -> None:
    labels = np.arange(100)[:, None] < 20
    best = (100 - np.arange(100.0))[:, None] / 100
    assert ranking.top_decile_lift(labels, best) == pytest.approx(5)
    assert ranking.top_decile_lift(labels, np.full((100, 1), 0.3)) == pytest.approx(1)


def test_equal_probabilities_rank_by_category_index() -> None:
    lists = ranking.TopLists.of(Pairs.of(np.ones((2, 20)), np.full((2, 20), 0.5)), 10)
    assert lists.categories.tolist() == [list(range(10))] * 2


def test_pairs_outside_the_mask_take_no_place_in_the_list() -> None:
    labels, probabilities = np.array([[1, 1, 0]]), np.array([[0.9, 0.2, 0.1]])
    mask = np.array([[False, True, True]])
    assert ranking.recall(labels, probabilities, mask, k=1) == 1
    assert ranking.recall(labels, probabilities, k=1) == 0.5


def test_wrong_input_is_refused() -> None:
    labels, probabilities = np.ones((1, 2)), np.zeros((1, 2))
    with pytest.raises(InputError, match="k must be at least 1"):
        ranking.ndcg(labels, probabilities, k=0)
    with pytest.raises(InputError, match="lengths from 1"):
        ranking.list_figures(labels, probabilities, ks=(5, 0))
    with pytest.raises(InputError, match="lengths from 1"):
        ranking.list_figures(labels, probabilities, ks=())
    with pytest.raises(InputError, match=r"cut to 1\.\.5, not 6"):
        ranking.TopLists.of(Pairs.of(labels, probabilities), 5).first(6)
    with pytest.raises(InputError, match="2 categories"):
        ranking.propensity_scored_precision(labels, probabilities, training_label_counts=[1], n_training_examples=9)
    with pytest.raises(InputError, match="at least 3 training rows"):
        ranking.label_propensity([1, 1], 2)
    with pytest.raises(InputError, match="smallest count of -1"):
        ranking.label_propensity([1, -1], 20)
