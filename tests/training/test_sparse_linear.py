from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from propensity.training import threads
from propensity.training.mxnet_runtime import mx
from propensity.training.sparse_linear import OPTIMIZERS, SparseLinear, SparseRows

N_IN, N_OUT = 40, 7


def batches(count, n_rows=9, n_in=N_IN, density=0.1):
    rng = np.random.default_rng(0)
    for seed in range(count):
        rows = scipy.sparse.random(n_rows, n_in, density, format="csr", dtype=np.float32, random_state=seed)
        yield rows, rng.normal(size=(n_rows, N_OUT)).astype(np.float32)


def layer_with(weight, optimizer, *, weight_decay=0.0, lazy=True):
    layer = SparseLinear(*weight.shape)
    layer.weight[:] = weight
    layer.train_with(optimizer, weight_decay=weight_decay, lazy=lazy)
    return layer


def step(layer, rows, gradient, rate):
    batch = SparseRows.of(rows)
    output = layer.product(batch)
    layer.step(rate, batch, gradient)
    return output


@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_it_steps_as_mxnets_sparse_layer_and_optimizer_do(optimizer, lazy):
    first = np.random.default_rng(1).normal(size=(N_IN, N_OUT)).astype(np.float32)
    # MXNet has no lazy AdaGrad for a dense weight; without decay it is the same as the one that isn't lazy.
    decay, theirs_lazy = (0.0, False) if optimizer == "adagrad" and lazy else (0.01, lazy)
    layer, lazy = layer_with(first, optimizer, weight_decay=decay, lazy=lazy), theirs_lazy
    theirs = mx.gluon.Parameter("weight", shape=first.shape, grad_stype="row_sparse" if lazy else "default")
    theirs.initialize(mx.init.Zero())
    theirs.set_data(mx.nd.array(first))
    options = {"wd": decay} | ({} if optimizer == "adagrad" else {"lazy_update": lazy})
    trainer = mx.gluon.Trainer([theirs], optimizer, options, kvstore=None)
    for number, (rows, gradient) in enumerate(batches(8)):
        rate = 0.1 / (number + 1)
        trainer.set_learning_rate(rate)
        if lazy:
            csr = mx.nd.sparse.csr_matrix((rows.data, rows.indices, rows.indptr), shape=rows.shape, dtype=np.float32)
        with mx.autograd.record():
            weight = theirs.data()
            expected = mx.nd.sparse.dot(csr, weight) if lazy else mx.nd.dot(mx.nd.array(rows.toarray()), weight)
            loss = (expected * mx.nd.array(gradient)).sum()
        loss.backward()
        trainer.step(1)
        found = step(layer, rows, gradient, rate)
        np.testing.assert_allclose(found, expected.asnumpy(), atol=1e-4)
    np.testing.assert_allclose(layer.weight, theirs.data().asnumpy(), atol=2e-5)


def test_a_row_no_batch_touches_stays_and_its_moments_wait():
    first = np.ones((N_IN, N_OUT), np.float32)
    layer = layer_with(first, "adam", weight_decay=0.5)
    (rows, gradient), *_ = batches(1)
    step(layer, rows, gradient, 0.1)
    touched = np.diff(rows.tocsc().indptr) > 0
    assert 0 < touched.sum() < N_IN
    assert (layer.weight[~touched] == 1).all()
    assert (layer.weight[touched] != 1).all()
    whole = layer_with(first, "adam", weight_decay=0.5, lazy=False)
    step(whole, rows, gradient, 0.1)
    assert (whole.weight < 1).any(axis=1).all()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_number_of_threads_does_not_change_a_bit(optimizer, monkeypatch, threads_restored):
    monkeypatch.setattr(threads, "SHARED_FROM", 0)
    first = np.random.default_rng(2).normal(size=(300, N_OUT)).astype(np.float32)
    found = {}
    for count in (1, 2, 5):
        threads.set_threads(count)
        layer = layer_with(first, optimizer)
        outputs = [step(layer, rows, gradient, 0.05) for rows, gradient in batches(4, 50, 300)]
        found[count] = [layer.weight, *outputs]
    for count in (2, 5):
        for one, other in zip(found[1], found[count], strict=True):
            np.testing.assert_array_equal(one, other)


def test_empty_rows_and_more_threads_than_rows_are_fine(monkeypatch, threads_restored):
    monkeypatch.setattr(threads, "SHARED_FROM", 0)
    threads.set_threads(4)
    layer = layer_with(np.ones((N_IN, N_OUT), np.float32), "adam")
    empty = scipy.sparse.csr_matrix((2, N_IN), dtype=np.float32)
    found = step(layer, empty, np.ones((2, N_OUT), np.float32), 0.1)
    assert (found == 0).all()
    assert (layer.weight == 1).all()
