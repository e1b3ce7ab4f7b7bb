from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from propensity.training import scaling
from propensity.training.mxnet_runtime import mx
from propensity.training.scaling import Gpu, Job, Machine, Network, zipf_occurrence

JOB = Job(zipf_occurrence(3_000, 20), hidden=(16, 8), outputs=50, positives=3, optimizer_arrays=2)
MACHINE = Machine(sparse=2e9, dense=5e9, kvstore=1e9)
NETWORK = Network(bandwidth=1e9, latency=1e-4)
ENDLESS = Network(bandwidth=math.inf, latency=0.0)
BATCH = 128


def drawn_rows(rows, seed=1):
    """Which columns each row has, each by its own chance: bool, (rows, n_columns)."""
    return np.random.default_rng(seed).random((rows, len(JOB.occurrence))) < JOB.occurrence


def test_zipfs_law_has_the_non_zeros_asked_for():
    assert JOB.non_zeros == pytest.approx(20)
    assert (np.diff(JOB.occurrence) < 0).all()
    assert JOB.occurrence[0] < 1
    rare = JOB.occurrence[1_000:]
    np.testing.assert_allclose(rare[0] / rare, np.arange(1_001, 3_001) / 1_001, rtol=0.02)


def test_the_columns_a_batch_touches_are_those_that_drawn_rows_have():
    drawn = [drawn_rows(BATCH, seed).any(axis=0) for seed in range(30)]
    assert JOB.n_touched(BATCH) == pytest.approx(np.mean([each.sum() for each in drawn]), rel=0.02)
    np.testing.assert_allclose(JOB.touched(BATCH)[:50], np.mean(drawn, axis=0)[:50], atol=0.3)
    assert JOB.n_touched(1) == pytest.approx(JOB.non_zeros)


@pytest.mark.parametrize("machines", [2, 5, 40])
def test_bytes_are_those_of_messages_counted_one_by_one(machines):
    rows = drawn_rows(machines * BATCH)
    home = np.repeat(np.arange(machines), BATCH)
    owner = np.random.default_rng(2).integers(0, machines, rows.shape[1])
    width = JOB.hidden[0]
    pulled = partial = 0
    for machine in range(machines):
        batch = rows[home == machine]
        others = batch.any(axis=0) & (owner != machine)
        pulled += 2 * others.sum() * (4 * width + 8)  # pulled, and pushed
        partial += 8 * batch[:, owner != machine].sum()
        for row in batch:
            holders = set(owner[row]) - {machine}
            partial += 2 * 4 * width * len(holders)  # the sum there, the gradient back
    # Every byte is sent by one machine.
    assert scaling.pulled_bytes(JOB, machines, BATCH) == pytest.approx(pulled / machines, rel=0.05)
    assert scaling.partial_sum_bytes(JOB, machines, BATCH) == pytest.approx(partial / machines, rel=0.05)


def test_sharding_sends_less_up_to_where_it_says():
    last = scaling.sharding_moves_less_up_to(JOB, BATCH)
    assert 2 < last < scaling.MOST_MACHINES
    for machines in range(2, 3 * last):
        less = scaling.partial_sum_bytes(JOB, machines, BATCH) < scaling.pulled_bytes(JOB, machines, BATCH)
        assert less == (machines <= last)


def test_arithmetic_and_memory_of_a_step():
    weights = 16 * 8 + 8 * 50
    assert JOB.dense_weights == weights
    assert JOB.dense_operations(BATCH) == 6 * BATCH * weights
    assert JOB.sparse_operations(BATCH) == pytest.approx(4 * BATCH * 20 * 16)
    held = 3 * 4 * (JOB.n_touched(BATCH) * 16 + weights)  # weights and Adam's two arrays
    assert JOB.moved_bytes(BATCH) == pytest.approx(2 * held + 2 * 8 * BATCH * 20 + 4 * BATCH * 3)
    held = 3 * 4 * (700 * 16 + weights)
    assert JOB.moved_bytes(BATCH, 700) == pytest.approx(2 * held + 2 * 8 * BATCH * 20 + 4 * BATCH * 3)
    seconds = 4 * BATCH * 20 * 16 / 2e9 + 6 * BATCH * weights / 5e9
    assert MACHINE.seconds(JOB, BATCH) == pytest.approx(seconds)
    assert MACHINE.times(4).seconds(JOB, BATCH) == pytest.approx(seconds / 4)


def test_a_network_that_costs_nothing_leaves_the_arithmetic():
    free = replace(MACHINE, kvstore=math.inf)
    for plan in ("parameter servers", "MXNet's kvstore"):
        assert scaling.speedup(plan, JOB, free, ENDLESS, 16, BATCH) == pytest.approx(16)
    # The heaviest shard keeps the others waiting.
    assert 16 / scaling.heaviest_shard(JOB, 16) < scaling.speedup("hash sharding", JOB, free, ENDLESS, 16, BATCH) < 16


@pytest.mark.parametrize("plan", scaling.PLANS)
def test_machines_pay_from_the_first_number_that_is_faster_than_one(plan):
    assert scaling.speedup(plan, JOB, MACHINE, NETWORK, 1, BATCH) == 1.0
    first = scaling.pays_from(plan, JOB, MACHINE, NETWORK, BATCH)
    assert first is not None
    assert scaling.speedup(plan, JOB, MACHINE, NETWORK, first, BATCH) > 1.0
    for fewer in range(2, first):
        assert scaling.speedup(plan, JOB, MACHINE, NETWORK, fewer, BATCH) <= 1.0
    assert scaling.pays_from(plan, JOB, MACHINE, Network(1e4, 1.0), BATCH) is None


def test_a_step_is_its_arithmetic_and_its_exchange():
    alone = MACHINE.seconds(JOB, BATCH)
    dense = 2 * 4 * JOB.dense_weights * 7 / 8 / 1e9 + 6e-4  # a message to each of three doublings, and back
    servers = scaling.pulled_bytes(JOB, 8, BATCH) / 1e9 + 2e-4
    assert scaling.parameter_servers(JOB, MACHINE, NETWORK, 8, BATCH) == pytest.approx(alone + servers + dense)
    slow = replace(MACHINE, kvstore=1e6)
    own = 2 * JOB.n_touched(BATCH) * (4 * 16 + 8) / 1e6
    assert scaling.kvstore(JOB, slow, NETWORK, 8, BATCH) == pytest.approx(alone + own + dense)
    sharded = alone + MACHINE.sparse_seconds(JOB, BATCH) * (scaling.heaviest_shard(JOB, 8) - 1)
    exchange = scaling.partial_sum_bytes(JOB, 8, BATCH) / 1e9 + 3e-4
    assert scaling.hash_sharding(JOB, MACHINE, NETWORK, 8, BATCH) == pytest.approx(sharded + exchange + dense)


def test_columns_in_order_of_frequency_fill_the_first_server():
    even = replace(JOB, occurrence=np.full(3_000, 0.01))
    assert scaling.first_server_load(even, 8, BATCH) == pytest.approx(1)
    assert scaling.first_server_load(JOB, 8, BATCH) > 2
    touched = drawn_rows(BATCH).any(axis=0)
    assert scaling.first_server_load(JOB, 8, BATCH) == pytest.approx(touched[:375].mean() / touched.mean(), rel=0.1)
    assert 1 <= scaling.heaviest_shard(even, 8) < 1.2


def test_a_gpu_takes_no_less_than_its_slowest_part():
    gpu = Gpu(operations=1e12, bandwidth=1e11, link=1e10)
    work = JOB.sparse_operations(BATCH) + JOB.dense_operations(BATCH)
    parts = work / 1e12, JOB.moved_bytes(BATCH) / 1e11, 8 * BATCH * 20 / 1e10
    assert gpu.least_seconds(JOB, BATCH) == pytest.approx(max(parts))
    there_and_back = 2 * 4 * BATCH * 16 / 1e10
    assert gpu.least_seconds_beside(JOB, MACHINE, BATCH) > MACHINE.sparse_seconds(JOB, BATCH) + there_and_back


def test_what_the_docs_say_of_the_installed_mxnet():
    features = mx.runtime.Features()
    assert features.is_enabled("DIST_KVSTORE")
    assert not features.is_enabled("CUDA")
    assert not features.is_enabled("NCCL")
