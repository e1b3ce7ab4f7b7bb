"""Cumulative gains and lift against customers counted one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from propensity.evaluation import gains, ranking

from .random_pairs import counted, random_pairs


def curve(labels, scores):
    """Share of positives among the best tenths; ties at an edge by the fraction that fits in."""
    shares = []
    for decile in range(11):
        room, captured = len(labels) * decile / 10, 0.0
        for level in sorted(set(scores), reverse=True):
            tied = [y for y, s in zip(labels, scores, strict=True) if s == level]
            captured += min(1, room / len(tied)) * sum(tied)
            room = max(0, room - len(tied))
        shares.append(captured / sum(labels) if sum(labels) else np.nan)
    return shares


@settings(deadline=None)
@given(random_pairs())
def test_pooled_gains(case) -> None:
    y, p = counted(*case)
    assert gains.pooled_gains(*case) == pytest.approx(curve(y.astype(int), p), abs=1e-9, nan_ok=True)


@settings(deadline=None)
@given(random_pairs())
def test_macro_gains_are_the_mean_of_the_categories(case) -> None:
    labels, probabilities, mask = case
    keep = np.ones(labels.shape, dtype=bool) if mask is None else mask
    curves = [
        curve(labels[keep[:, j], j].astype(int), probabilities[keep[:, j], j])
        for j in range(labels.shape[1])
        if 2 <= labels[keep[:, j], j].sum() < keep[:, j].sum()
    ]
    expected = np.mean(curves, axis=0) if curves else np.full(11, np.nan)
    figures = gains.macro_gains(*case, min_positives=2)
    assert figures == pytest.approx(expected, abs=1e-9, nan_ok=True)
    first = gains.lift_per_decile(figures)[0]
    assert first == pytest.approx(ranking.top_decile_lift(*case, min_positives=2), nan_ok=True)


def test_lift_of_known_cases() -> None:
    labels = np.arange(100)[:, None] < 20
    best = (100 - np.arange(100.0))[:, None] / 100
    assert gains.lift_per_decile(gains.pooled_gains(labels, best)) == pytest.approx([5, 5] + [0] * 8)
    assert gains.lift_per_decile(gains.macro_gains(labels, np.full((100, 1), 0.3))) == pytest.approx([1] * 10)
