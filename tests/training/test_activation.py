from __future__ import annotations

import numpy as np
import pytest

from propensity.training.activation import ALL, activate, take_back
from propensity.training.dropout import Masks

MASKS = Masks(np.uint64(3), np.uint16(20_000), np.float32(65_536 / 45_536))


def layer(n_rows=300, width=23):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n_rows, width)).astype(np.float32), rng.normal(size=width).astype(np.float32)


def activated(masks):
    flow, bias = layer()
    activate(flow, bias, masks)
    return flow


def test_what_is_not_dropped_is_the_rectifier_of_flow_and_bias():
    flow, bias = layer()
    np.testing.assert_array_equal(activated(ALL), np.maximum(flow + bias, 0))


def test_dropout_leaves_out_its_share_and_scales_the_rest():
    whole, dropped = activated(ALL), activated(MASKS)
    active = whole > 0
    assert (dropped[active] == 0).mean() == pytest.approx(20_000 / 65_536, abs=0.03)
    kept = active & (dropped > 0)
    np.testing.assert_allclose(dropped[kept], whole[kept] * MASKS.scale, rtol=1e-6)
    assert not dropped[~active].any()


def test_a_row_is_masked_alike_whichever_rows_come_along():
    flow, bias = layer()
    part = flow[100:140].copy()
    activate(part, bias, MASKS, first=100)
    np.testing.assert_array_equal(part, activated(MASKS)[100:140])


@pytest.mark.parametrize("masks", [ALL, MASKS])
def test_the_way_back_stops_where_nothing_came_out(masks):
    made, gradient = activated(masks), layer()[0]
    found, of_bias = gradient.copy(), np.ones(gradient.shape[1], np.float32)
    take_back(found, made, masks, of_bias)
    expected = np.where(made > 0, gradient * masks.scale, 0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(of_bias, 1 + expected.sum(axis=0), rtol=1e-4, atol=1e-4)
