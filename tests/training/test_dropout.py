from __future__ import annotations

import numpy as np
import pytest

from propensity.training.dropout import Dropout
from propensity.training.mxnet_runtime import mx


def dropped(dropout, shape):
    flow = mx.nd.ones(shape)
    flow.attach_grad()
    with mx.autograd.record():
        found = dropout(flow)
    found.backward()
    np.testing.assert_array_equal(flow.grad.asnumpy(), found.asnumpy())  # what is dropped has no gradient
    return found.asnumpy()


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5, 0.9])
def test_the_share_is_dropped_and_the_mean_stays(rate):
    found = dropped(Dropout(rate), (1000, 301))
    assert set(np.unique(found)) == {np.float32(0), np.float32(1 / (1 - round(rate * 65536) / 65536))}
    sd = np.sqrt(rate * (1 - rate) / found.size)
    assert (found == 0).mean() == pytest.approx(rate, abs=4 * sd)
    assert found.mean() == pytest.approx(1, abs=4 * sd / (1 - rate))


def test_values_are_dropped_independently():
    gone = dropped(Dropout(0.5), (2000, 64)) == 0
    # Four values come from one number: neighbours, rows and columns must not know of each other.
    for lag in range(1, 9):
        agree = (gone.ravel()[lag:] == gone.ravel()[:-lag]).mean()
        assert agree == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(gone.size))
    correlation = np.corrcoef(gone.T.astype(float))
    assert np.abs(correlation - np.eye(64)).max() < 5.5 / np.sqrt(2000)
    assert np.abs(gone.mean(axis=0) - 0.5).max() < 5 * 0.5 / np.sqrt(2000)


def test_the_seed_gives_the_masks_and_each_call_has_its_own():
    dropout = Dropout(0.3)
    dropout.reseed(np.random.SeedSequence(1))
    one, two = dropped(dropout, (50, 7)), dropped(dropout, (50, 7))
    dropout.reseed(np.random.SeedSequence(1))
    np.testing.assert_array_equal(dropped(dropout, (50, 7)), one)
    assert not np.array_equal(one, two)
    dropout.reseed(np.random.SeedSequence(2))
    assert not np.array_equal(dropped(dropout, (50, 7)), one)


def test_outside_of_training_and_at_rate_zero_nothing_happens():
    flow = mx.nd.ones((3, 4))
    assert Dropout(0.5)(flow) is flow
    with mx.autograd.record():
        assert Dropout(0.0)(flow) is flow
