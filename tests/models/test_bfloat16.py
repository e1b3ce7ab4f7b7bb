from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from propensity.models.bfloat16 import rounded, widened

EDGES = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, 3.4e38, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20]
"""Ties to even on either side, and what rounds up to infinity."""


@pytest.fixture(scope="module")
def weight():
    """Weights, any bits at all, and EDGES, (1, n)."""
    rng = np.random.default_rng(0)
    any_bits = rng.integers(0, 2**32, 20_000, dtype=np.uint32).view(np.float32)
    return np.concatenate((rng.normal(0, 0.1, 20_000), any_bits, EDGES)).astype(np.float32)[None]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # what no bfloat16 is large enough for
def test_bits_are_those_of_another_implementation(weight):
    expected = weight.astype(ml_dtypes.bfloat16)
    number = ~np.isnan(weight)
    np.testing.assert_array_equal(rounded(weight)[number], expected.view(np.uint16)[number])
    np.testing.assert_array_equal(widened(rounded(weight)), expected.astype(np.float32))


def test_a_weight_is_off_by_a_256th_of_itself_at_most():
    weight = np.random.default_rng(1).normal(0, 0.1, (100, 100)).astype(np.float32)
    error = np.abs(widened(rounded(weight)).astype(float) - weight)
    assert (error <= np.abs(weight) * 2.0**-8).all()
    assert (error > np.abs(weight) * 2.0**-9).any()  # of 8 bits of a significand, not more


def test_weights_of_16_bits_are_exact():
    weight = np.arange(-128, 129, dtype=np.float32)[None] / 64
    np.testing.assert_array_equal(widened(rounded(weight)), weight)
