from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from propensity.errors import TrainingError
from propensity.models.calibration import Calibration
from propensity.models.forward_pass import ForwardPass
from propensity.models.model import Model
from propensity.training import networks
from propensity.training.descent import no_progress, train_net
from propensity.training.encoded_examples import encode
from propensity.training.encoding import fit_encoder
from propensity.training.fitting import network_shape
from propensity.training.warm_start import carried_over

from .planted import CATEGORIES, N_CATEGORIES, QUICK, dictionary, examples

RETIRED, NEW = 2, 7
"""Categories without any feature or label before, and now."""


def without(some, category, features=()):
    """The same examples, but a category and some other features never occur."""
    gone = np.flatnonzero(dictionary().category_index == category)
    keep = np.ones(some.features.shape[1], np.float32)
    keep[[*gone, *features]] = 0
    values = some.features.multiply(keep[None, :]).tocsr().astype(np.float32)
    values.eliminate_zeros()
    labels = some.labels.toarray()
    labels[:, category] = 0
    return dataclasses.replace(some, features=values, labels=csr_matrix(labels))


def fitted(some, settings, n_classes=2):
    return fit_encoder(
        some, dictionary(), CATEGORIES, 5,
        aligned_columns=networks.NETWORKS[settings.network].reads_aligned_columns,
        cross_signals=settings.cross_signals,
    ), settings, n_classes  # fmt: skip


def model_of(encoder, settings, n_classes, weights):
    n = len(encoder.categories)
    identity = Calibration.identity(n_classes, n)
    return Model(settings.network, n_classes, encoder, weights, identity, np.zeros(n, np.float32), 0.01)


def random_weights(encoder, settings, n_classes, seed):
    net = networks.build(settings.network, network_shape(encoder, settings, n_classes), np.random.default_rng(0))
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, 0.3, value.shape).astype(np.float32) for name, value in networks.weights(net).items()}


def margins(network, weights, n_classes, encoded):
    forward = ForwardPass(network, [weights], n_classes)
    return np.concatenate(list(forward.margins(encoded.rows, encoded.prior, encoded.as_of_position)))


@pytest.fixture(params=[("category_aligned", 2), ("category_aligned", 3), ("feed_forward", 2)], ids=str)
def generations(request):
    """A previous model of random weights, and the encoder of a later one, of other rows, features and categories."""
    network, n_classes = request.param
    settings = QUICK.model_copy(update={"network": network})
    n_aligned = 2 * N_CATEGORIES
    earlier = without(examples(80, 1, 1, n_classes), NEW, features=[n_aligned, n_aligned + 1])
    later = without(examples(120, 1, 2, n_classes), RETIRED)
    before, now = fitted(earlier, settings)[0], fitted(later, settings)[0]
    assert before.categories != now.categories
    assert not np.array_equal(before.feature_column, now.feature_column)
    previous = model_of(
        before, settings, n_classes, tuple(random_weights(before, settings, n_classes, seed) for seed in (3, 4))
    )
    return previous, now, settings, n_classes


@pytest.mark.parametrize("net", [0, 1, 2])
def test_what_both_know_has_the_margins_the_previous_one_ended_with(generations, net):
    previous, now, settings, n_classes = generations
    fresh = random_weights(now, settings, n_classes, 5)
    carried = carried_over(previous, net, now, fresh, network=settings.network, n_classes=n_classes)
    n_aligned = 2 * N_CATEGORIES
    both = without(without(examples(60, 1, 6, n_classes), NEW, features=[n_aligned, n_aligned + 1]), RETIRED)
    old = margins(settings.network, previous.nets[net % 2], n_classes, encode(previous.encoder, both))
    new = margins(settings.network, carried, n_classes, encode(now, both))
    of_old = [previous.encoder.categories.index(name) for name in now.categories if name != CATEGORIES[NEW]]
    of_new = [position for position, name in enumerate(now.categories) if name != CATEGORIES[NEW]]
    assert len(of_new) == N_CATEGORIES - 2
    np.testing.assert_allclose(new[:, :, of_new], old[:, :, of_old], atol=2e-4)


def test_input_rows_go_by_feature(generations):
    previous, now, settings, n_classes = generations
    before, old = previous.encoder, previous.nets[0]["deep.input_weight"]
    fresh = random_weights(now, settings, n_classes, 5)
    carried = carried_over(previous, 0, now, fresh, network=settings.network, n_classes=n_classes)
    new, retired = [], []
    for feature, (was, column) in enumerate(zip(before.feature_column, now.feature_column, strict=True)):
        if column < 0:
            retired += [feature] if was >= 0 else []
            continue
        new += [feature] if was < 0 else []
        ratio = 0 if was < 0 else now.column_scale[column] / before.column_scale[was]
        np.testing.assert_allclose(carried["deep.input_weight"][column], old[max(was, 0)] * ratio, rtol=1e-6)
    assert now.n_columns - len(new) >= 20
    n_aligned = 2 * N_CATEGORIES
    assert {n_aligned, n_aligned + 1} <= set(new)
    # Columns of a category's signals are in the plain net's input alone.
    if settings.network == "feed_forward":
        assert {NEW, NEW + N_CATEGORIES} <= set(new)
        assert {RETIRED, RETIRED + N_CATEGORIES} <= set(retired)


def test_outputs_and_embeddings_go_by_category(generations):
    previous, now, settings, n_classes = generations
    before, old = previous.encoder, previous.nets[0]
    fresh = random_weights(now, settings, n_classes, 5)
    carried = carried_over(previous, 0, now, fresh, network=settings.network, n_classes=n_classes)
    # -1 where it is new: what stands there is what `put` adds at the end.
    was = [before.categories.index(name) if name != CATEGORIES[NEW] else -1 for name in now.categories]
    assert CATEGORIES[RETIRED] not in now.categories
    assert was.count(-1) == 1

    def put(weights, categories):
        return np.concatenate((weights, np.zeros_like(weights[:1])))[categories]

    for name in ("head.output.weight", "head.output.bias"):
        first = old[name].reshape(n_classes - 1, len(before.categories), -1)
        then = carried[name].reshape(n_classes - 1, len(now.categories), -1)
        for one, other in zip(first, then, strict=True):
            np.testing.assert_array_equal(other, put(one, was))
    if settings.network == "category_aligned":
        embedding = put(old["aligned.embedding"], was)
        embedding[was.index(-1)] = fresh["aligned.embedding"][was.index(-1)]
        np.testing.assert_array_equal(carried["aligned.embedding"], embedding)
        first = old["cross.weight"].reshape(len(before.categories), -1, len(before.categories))
        expected = put(first, was).transpose(2, 0, 1)
        then = carried["cross.weight"].reshape(len(now.categories), -1, len(now.categories))
        np.testing.assert_array_equal(then, put(expected, was).transpose(1, 2, 0))


def test_a_new_category_starts_at_its_popularity(generations):
    previous, now, settings, n_classes = generations
    fresh = random_weights(now, settings, n_classes, 5)
    carried = carried_over(previous, 0, now, fresh, network=settings.network, n_classes=n_classes)
    strangers = dataclasses.replace(
        examples(10, 1, 6, n_classes), features=csr_matrix((10, len(dictionary())), dtype=np.float32)
    )
    encoded = encode(now, strangers)
    position = now.categories.index(CATEGORIES[NEW])
    expected = encoded.prior[encoded.as_of_position][:, None, position] * carried["head.prior_scale"][0].T
    np.testing.assert_allclose(
        margins(settings.network, carried, n_classes, encoded)[:, :, position], expected, atol=1e-5
    )


def test_new_features_can_be_learned(generations):
    """They start at zero and don't stay there."""
    previous, now, settings, n_classes = generations
    rows = encode(now, without(examples(120, 1, 2, n_classes), RETIRED))

    def start(net, fresh):
        return carried_over(previous, net, now, fresh, network=settings.network, n_classes=n_classes)

    shape = network_shape(now, settings, n_classes)
    one = settings.model_copy(update={"epochs": 1})
    found = train_net(rows, None, shape, settings=one, epochs=1, progress=no_progress, start=start)
    column = now.feature_column[2 * N_CATEGORIES]
    assert column >= 0
    assert found.weights["deep.input_weight"][column].any()
    assert found.weights["head.output.weight"].reshape(n_classes - 1, len(now.categories), -1)[:, NEW - 1].any()


@pytest.mark.parametrize("changed", [{"hidden": (24, 8)}, {"hidden": (16, 8, 4)}, {"hidden": (16,)}])
def test_other_widths_are_refused(generations, changed):
    previous, now, settings, n_classes = generations
    fresh = random_weights(now, settings.model_copy(update=changed), n_classes, 5)
    with pytest.raises(TrainingError, match=r"training\.hidden, .* were changed since\. Train without it"):
        carried_over(previous, 0, now, fresh, network=settings.network, n_classes=n_classes)


def test_another_network_or_number_of_classes_is_refused(generations):
    previous, now, settings, n_classes = generations
    fresh = random_weights(now, settings, n_classes, 5)
    with pytest.raises(TrainingError, match=f"with {n_classes} classes, this one 'another' with 5"):
        carried_over(previous, 0, now, fresh, network="another", n_classes=5)
