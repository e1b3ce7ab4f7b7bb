from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from propensity.models.forward import PRIOR_SCALE
from propensity.models.forward_pass import ForwardPass
from propensity.training import networks
from propensity.training.batches import batch_of
from propensity.training.descent import multilabel_log_loss
from propensity.training.encoded_examples import encode
from propensity.training.encoding import fit_encoder
from propensity.training.multilabel_loss import loss_and_gradients
from propensity.training.mxnet_runtime import mx

from . import numpy_forward
from .added_up import margins
from .planted import CATEGORIES, CROSS, dictionary, examples

both_nets = pytest.mark.parametrize("network", sorted(networks.NETWORKS))
both_widths = pytest.mark.parametrize("n_classes", [2, 3])


@pytest.fixture(scope="module")
def encoded():
    """150 rows; the last 10 are strangers, without any feature."""
    some = examples(75, 2, 1)
    dense = some.features.toarray()
    dense[-10:] = 0
    encoder = fit_encoder(some, dictionary(), CATEGORIES, 1, cross_signals=CROSS)
    return encode(encoder, dataclasses.replace(some, features=csr_matrix(dense)))


def random_net(network, n_classes, encoded, seed=0, dropout=0.3):
    """A net whose every parameter is random, so that each one matters."""
    shape = networks.NetworkShape(
        n_columns=encoded.rows.deep.shape[1],
        n_categories=encoded.prior.shape[1],
        n_classes=n_classes,
        n_signals=encoded.rows.pair_signals.shape[1],
        n_cross_signals=len(CROSS),
        n_customer_signals=encoded.rows.customer.shape[1],
        hidden=(16, 8),
        aligned_hidden=(8, 4),
        embedding=3,
        context=2,
        dropout=dropout,
        aligned_dropout=dropout,
    )
    rng = np.random.default_rng(seed)
    net = networks.build(network, shape, rng)
    for parameter in net.collect_params().values():
        parameter.set_data(mx.nd.array(rng.normal(0, 0.4, parameter.shape)))
    for layer in networks.sparse_layers(net).values():
        layer.weight[:] = rng.normal(0, 0.4, layer.weight.shape)
    return net


def own_margins(network, weights, n_classes, encoded):
    forward = ForwardPass(network, [weights], n_classes)
    return np.concatenate(list(forward.margins(encoded.rows, encoded.prior, encoded.as_of_position)))


def mxnet_margins(net, encoded, rows):
    batch = batch_of(encoded, rows)
    return margins(net(batch), batch)


@both_nets
@both_widths
def test_forward_without_a_framework_agrees_with_mxnet(network, n_classes, encoded):
    net = random_net(network, n_classes, encoded)
    expected = mxnet_margins(net, encoded, np.arange(len(encoded)))
    found = own_margins(network, networks.weights(net), n_classes, encoded)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


@both_nets
@both_widths
def test_forward_without_a_framework_agrees_with_numpy(network, n_classes, encoded):
    weights = networks.weights(random_net(network, n_classes, encoded))
    doubled = {name: value.astype(np.float64) for name, value in weights.items()}
    expected = numpy_forward.margins(doubled, n_classes, encoded.rows, encoded.prior, encoded.as_of_position)
    assert expected.dtype == np.float64
    np.testing.assert_allclose(own_margins(network, weights, n_classes, encoded), expected, atol=1e-5)


@both_nets
@both_widths
def test_mxnet_agrees_with_a_loop_over_rows_and_pairs(network, n_classes, encoded):
    net = random_net(network, n_classes, encoded)
    rows = np.array([3, 120, 149, 0])
    weights = {name: value.astype(np.float64) for name, value in networks.weights(net).items()}
    found = mxnet_margins(net, encoded, rows)
    for i, row in enumerate(rows):
        np.testing.assert_allclose(found[i], by_hand(weights, n_classes, encoded, row), atol=1e-5)


def by_hand(weights, n_classes, encoded, row):
    """Margins (K - 1, N) of one row, one pair at a time."""

    def layers(prefix, flow):
        i = 0
        while f"{prefix}.layers.{i}.weight" in weights:
            flow = np.maximum(weights[f"{prefix}.layers.{i}.weight"] @ flow + weights[f"{prefix}.layers.{i}.bias"], 0)
            i += 1
        return flow

    dense = encoded.rows.deep[row].toarray()[0]
    hidden = np.maximum(dense @ weights["deep.input_weight"] + weights["deep.input_bias"][0], 0)
    hidden = layers("deep", hidden)
    prior = encoded.prior[encoded.as_of_position[row]]
    margins = (weights["head.output.weight"] @ hidden + weights["head.output.bias"]).reshape(n_classes - 1, -1)
    margins = margins + weights["head.prior_scale"][0] * prior
    if "aligned.linear" not in weights:
        return margins
    context = weights["aligned.context.weight"] @ hidden + weights["aligned.context.bias"]
    pairs = encoded.rows.take(np.array([row]))
    crossed = (pairs.cross.toarray() @ weights["cross.weight"]).reshape(n_classes - 1, -1)
    unseen = np.setdiff1d(np.arange(margins.shape[1]), pairs.pair_position)
    margins[:, unseen] += crossed[:, unseen]
    for position, signals in zip(pairs.pair_position, pairs.pair_signals, strict=True):
        embedding = weights["aligned.embedding"][position]
        own = (signals, embedding, context, [prior[position] * PRIOR_SCALE], pairs.customer[0])
        flow = layers("aligned", np.concatenate(own))
        linear = weights["aligned.linear"][position].reshape(n_classes - 1, -1)
        margins[:, position] += weights["aligned.output.weight"] @ flow + weights["aligned.output.bias"]
        margins[:, position] += linear[:, :-1] @ signals + linear[:, -1]
    return margins


@both_widths
def test_gradients_agree_with_finite_differences(n_classes, encoded):
    """Along one random direction per parameter, including the sparse input weight and the scattered pairs."""
    net = random_net("category_aligned", n_classes, encoded, dropout=0.0)
    rows = np.arange(40)
    batch = batch_of(encoded, rows)
    rng = np.random.default_rng(1)
    with mx.autograd.record():
        summands = net(batch)
    _, found = loss_and_gradients(summands, batch)
    net.backward(found)
    weights = networks.weights(net)
    part = dataclasses.replace(encoded, rows=encoded.rows.take(rows), as_of_position=encoded.as_of_position[rows])
    part = dataclasses.replace(part, labels=batch.labels)

    def value(changed):
        doubled = {name: array.astype(np.float64) for name, array in changed.items()}
        found = numpy_forward.margins(doubled, n_classes, part.rows, part.prior, part.as_of_position)
        return multilabel_log_loss(found, part.labels.toarray()) * len(CATEGORIES)

    gradients = {name: parameter.grad().asnumpy() for name, parameter in networks.parameters(net).items()}
    gradients |= sparse_gradients(net)
    assert gradients.keys() == weights.keys()
    for name, found in gradients.items():
        direction = rng.normal(size=found.shape)
        gradient = found.astype(np.float64)
        assert np.abs(gradient).max() > 0, name
        step = 1e-5
        slope = (
            value({**weights, name: weights[name] + step * direction})
            - value({**weights, name: weights[name] - step * direction})
        ) / (2 * step)
        assert slope == pytest.approx((gradient * direction).sum(), rel=2e-2, abs=2e-3), name


def sparse_gradients(net):
    """What a step of gradient descent at rate 1 takes away from the sparse layers."""
    layers = networks.sparse_layers(net)
    before = {name: layer.weight.copy() for name, layer in layers.items()}
    for layer in layers.values():
        layer.train_with("sgd", weight_decay=0.0, lazy=True)
    net.step(1.0)
    return {name: before[name] - layer.weight for name, layer in layers.items()}


@both_nets
def test_a_step_uses_its_batch_up(network, encoded):
    net = random_net(network, 2, encoded)
    batch = batch_of(encoded, np.arange(20))
    net(batch)  # outside of a recording nothing is kept
    with pytest.raises(ValueError, match="no recorded batch"):
        net.deep.backward()
    with pytest.raises(ValueError, match="no gradient"):
        net.step(1.0)
    with mx.autograd.record():
        summands = net(batch)
    net.backward(loss_and_gradients(summands, batch)[1])
    with pytest.raises(ValueError, match="no recorded batch"):
        net.deep.backward()
    assert all(moved.any() for moved in sparse_gradients(net).values())
    with pytest.raises(ValueError, match="no gradient"):
        net.step(1.0)


def test_a_batch_without_pairs_leaves_their_parts_alone(encoded):
    net = random_net("category_aligned", 2, encoded)
    trainer = mx.gluon.Trainer(list(networks.parameters(net).values()), "sgd", {"learning_rate": 1.0}, kvstore=None)
    before = {}
    for rows in (np.arange(20), np.arange(140, 150)):  # the second are strangers
        before = networks.weights(net)
        batch = batch_of(encoded, rows)
        with mx.autograd.record():
            summands = net(batch)
        net.backward(loss_and_gradients(summands, batch)[1])
        trainer.step(1, ignore_stale_grad=True)
        net.step(1.0)
    after = networks.weights(net)
    stayed = {name for name, value in after.items() if np.array_equal(value, before[name])}
    assert {name for name in after if name.startswith(("aligned", "cross"))} <= stayed
    assert not stayed & {"head.output.weight", "head.output.bias", "deep.input_bias"}


def test_the_sparse_gradient_has_only_the_columns_of_the_batch(encoded):
    net = random_net("feed_forward", 2, encoded, dropout=0.0)
    batch = batch_of(encoded, np.array([0, 1]))
    with mx.autograd.record():
        summands = net(batch)
    net.backward(loss_and_gradients(summands, batch)[1])
    moved = np.flatnonzero(sparse_gradients(net)["deep.input_weight"].any(axis=1))
    assert moved.tolist() == sorted(set(encoded.rows.deep[[0, 1]].indices.tolist()))


def test_pairs_without_history_rest_on_the_deep_part_and_the_other_categories(encoded):
    net = random_net("category_aligned", 2, encoded)
    weights = networks.weights(net)
    crossed = encoded.rows.cross @ weights.pop("cross.weight")
    whole = own_margins("category_aligned", weights, 2, encoded)
    deep_only = own_margins("feed_forward", weights, 2, encoded)
    seen = np.zeros((len(encoded), len(CATEGORIES)), bool)
    seen[encoded.rows.pair_row, encoded.rows.pair_position] = True
    differs = whole[:, 0] != deep_only[:, 0]
    assert not differs[~seen].any()
    weights["cross.weight"] = networks.weights(net)["cross.weight"]
    added = own_margins("category_aligned", weights, 2, encoded)[:, 0] - whole[:, 0]
    np.testing.assert_allclose(added, np.where(seen, 0.0, crossed), atol=1e-5)
    assert differs[seen].mean() > 0.99


def test_an_untrained_net_follows_popularity(encoded):
    shape = networks.NetworkShape(encoded.rows.deep.shape[1], 12, 2, 2, 1, 1, (16, 8), (8, 4), 3, 2, 0.3, 0.3)
    net = networks.build("category_aligned", shape, np.random.default_rng(0))
    found = mxnet_margins(net, encoded, np.arange(140, 150))  # strangers
    np.testing.assert_allclose(found[:, 0], encoded.prior[encoded.as_of_position[140:150]], atol=1e-5)
