from __future__ import annotations

import numpy as np
import pytest

from propensity.training import pair_layers, threads
from propensity.training.activation import ALL
from propensity.training.batches import batch_of
from propensity.training.dropout import Masks
from propensity.training.encoded_examples import encode
from propensity.training.encoding import fit_encoder
from propensity.training.pair_layers import PairLayers, PairWeights

from .added_up import own_history
from .planted import CATEGORIES, dictionary, examples

MASKS = [Masks(np.uint64(seed), np.uint16(20_000), np.float32(65_536 / 45_536)) for seed in (3, 4)]

NO_DROPOUT = [ALL, ALL]


@pytest.fixture(scope="module")
def batch():
    some = examples(60, 1, 1)
    return batch_of(encode(fit_encoder(some, dictionary(), CATEGORIES, 1), some), np.arange(60))


def random_weights(batch, n_out):
    rng = np.random.default_rng(0)
    n_signals, n = batch.pair_signals.shape[1], len(CATEGORIES)
    shapes = [(n, 8), (len(batch), 8), (8, n_signals), (8, 1), (5, 8), (5,), (n_out, 5), (n_out,)]
    shapes.append((n, n_out * (n_signals + 1)))
    return PairWeights.of([rng.normal(0, 0.5, shape).astype(np.float32) for shape in shapes])


def run_both_ways(batch, n_out, masks):
    """What comes out, and the gradients for a random one of it; every row and pair comes by once."""
    layers = PairLayers(random_weights(batch, n_out), batch, masks)
    own = np.full((len(batch.pair_position), n_out), np.nan, np.float32)
    pull, times = pull_on(own.shape), np.zeros(len(batch), int)

    def loss(rows, pairs, found):
        assert (pairs.start, pairs.stop) == (batch.pair_indptr[rows.start], batch.pair_indptr[rows.stop])
        times[rows] += 1
        own[pairs] = found
        return pull[pairs]

    gradients = layers.there_and_back(loss, 10).arrays()
    assert (times == 1).all()
    return [own, *gradients]


def pull_on(shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("masks", [NO_DROPOUT, MASKS])
@pytest.mark.parametrize("n_out", [1, 3])
def test_gradients_agree_with_finite_differences_also_under_dropout(batch, n_out, masks):
    weights = random_weights(batch, n_out)
    own, *gradients = run_both_ways(batch, n_out, masks)
    pull = pull_on(own.shape)
    rng = np.random.default_rng(2)
    for number, gradient in enumerate(gradients):
        direction = rng.normal(size=gradient.shape).astype(np.float32)
        found = []
        for step in (1e-4, -1e-4):
            arrays = weights.arrays()
            arrays[number] = arrays[number] + np.float32(step) * direction
            layers = PairLayers(PairWeights.of(arrays), batch, masks)
            moved = own_history(layers, *own.shape)
            found.append((moved.astype(np.float64) * pull).sum())
        slope = (found[0] - found[1]) / 2e-4
        assert np.abs(gradient).max() > 0
        assert slope == pytest.approx((gradient * direction).sum(dtype=np.float64), rel=2e-2, abs=0.1), number
    np.testing.assert_allclose(PairWeights.of(gradients).output_bias, pull.sum(axis=0), atol=1e-4)


@pytest.mark.parametrize("block", [1, 7, pair_layers.BLOCK])
@pytest.mark.parametrize("masks", [NO_DROPOUT, MASKS])
def test_the_number_of_threads_does_not_change_a_bit(batch, masks, block, monkeypatch, threads_restored):
    monkeypatch.setattr(threads, "SHARED_FROM", 0)
    monkeypatch.setattr(pair_layers, "BLOCK", block)
    expected = run_both_ways(batch, 2, masks)
    for count in (2, 5):
        threads.set_threads(count)
        for one, other in zip(run_both_ways(batch, 2, masks), expected, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("masks", [NO_DROPOUT, MASKS])
def test_the_size_of_blocks_changes_the_order_of_sums_only(batch, masks, monkeypatch):
    expected = run_both_ways(batch, 2, masks)
    for block in (1, 7, 50):
        monkeypatch.setattr(pair_layers, "BLOCK", block)
        for one, other in zip(run_both_ways(batch, 2, masks), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
