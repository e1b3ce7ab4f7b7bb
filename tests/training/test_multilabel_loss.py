from __future__ import annotations

import dataclasses
import decimal

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from propensity.models.exponential import exponential
from propensity.training import threads
from propensity.training.batches import batch_of
from propensity.training.encoded_examples import encode
from propensity.training.encoding import fit_encoder
from propensity.training.multilabel_loss import LANES, Summands, loss_and_gradients

from .added_up import margins
from .planted import CATEGORIES, CROSS, dictionary, examples

N_ROWS = 30


@pytest.fixture(scope="module")
def encoded():
    some = examples(N_ROWS, 1, 1)
    return encode(fit_encoder(some, dictionary(), CATEGORIES, 1, cross_signals=CROSS), some)


def batch_with(encoded, n_categories, n_classes, rng):
    """A batch as wide as asked for: the planted one's pairs, and labels and popularity of its own."""
    batch = batch_of(encoded, np.arange(N_ROWS))
    labels = csr_matrix(rng.integers(-3, n_classes, (N_ROWS, n_categories)).clip(0).astype(np.int8))
    prior = rng.normal(size=(2, n_categories)).astype(np.float32)
    as_of = rng.integers(0, 2, N_ROWS).astype(np.int32)
    return dataclasses.replace(batch, labels=labels, prior=prior, as_of_position=as_of)


@dataclasses.dataclass(frozen=True)
class Given:
    """What the pairs' own history says, given; the gradient by it is what comes back."""

    own: np.ndarray
    indptr: np.ndarray

    def there_and_back(self, loss, products):
        assert products > 0
        gradient = np.full_like(self.own, np.nan)
        for start, stop in [(0, 7), (7, 8), (8, len(self.indptr) - 1)]:
            pairs = slice(self.indptr[start], self.indptr[stop])
            gradient[pairs] = loss(slice(start, stop), pairs, self.own[pairs])
        return gradient


def random_parts(batch, n_classes, rng, *, own=True, crossed=True, size=3.0):
    n_rows, n_out = len(batch), n_classes - 1
    n_categories = batch.prior.shape[1]

    def drawn(*shape):
        return (size * rng.normal(size=shape)).astype(np.float32)

    return Summands(
        head=drawn(n_rows, n_out * n_categories),
        prior_scale=drawn(1, n_out, 1),
        own=Given(drawn(len(batch.pair_position), n_out), batch.pair_indptr) if own else None,
        crossed=drawn(n_rows, n_out * n_categories) if crossed else None,
    )


def log_loss(found, labels):
    """Sum over rows and categories."""
    with_none = np.concatenate([np.zeros_like(found[:, :1]), found], axis=1)
    of_all = np.logaddexp.reduce(with_none, axis=1)
    return (of_all - np.take_along_axis(with_none, labels[:, None].astype(int), axis=1)[:, 0]).sum()


shapes = pytest.mark.parametrize("n_categories", [len(CATEGORIES), LANES, 150 * LANES + 13])
classes = pytest.mark.parametrize("n_classes", [2, 4])
summands = pytest.mark.parametrize(("own", "crossed"), [(False, False), (True, False), (True, True)])


@shapes
@classes
@summands
def test_loss_and_gradients_are_those_of_the_margins(encoded, n_categories, n_classes, own, crossed):
    rng = np.random.default_rng(2)
    batch = batch_with(encoded, n_categories, n_classes, rng)
    parts = random_parts(batch, n_classes, rng, own=own, crossed=crossed)
    found, labels = margins(parts, batch), batch.labels.toarray()
    with_none = np.concatenate([np.zeros_like(found[:, :1]), found], axis=1)
    probability = np.exp(with_none - np.logaddexp.reduce(with_none, axis=1, keepdims=True))
    gradient = (probability - (np.arange(n_classes)[:, None] == labels[:, None]))[:, 1:] / N_ROWS
    loss, gradients = loss_and_gradients(parts, batch)
    assert loss == pytest.approx(log_loss(found, labels) / labels.size, rel=1e-6)
    np.testing.assert_allclose(gradients.head.reshape(found.shape), gradient, atol=3e-7)
    by_scale = (gradient * batch.prior[batch.as_of_position][:, None]).sum(axis=(0, 2))
    np.testing.assert_allclose(gradients.prior_scale[0, :, 0], by_scale, rtol=1e-4, atol=1e-5)
    if own:
        np.testing.assert_allclose(gradients.own, gradient[batch.pair_row, :, batch.pair_position], atol=3e-7)
    if crossed:
        gradient[batch.pair_row, :, batch.pair_position] = 0.0
        np.testing.assert_allclose(gradients.crossed.reshape(found.shape), gradient, atol=3e-7)


@classes
def test_margins_of_any_size_give_finite_losses(encoded, n_classes):
    rng = np.random.default_rng(3)
    batch = batch_with(encoded, 100, n_classes, rng)
    parts = random_parts(batch, n_classes, rng, size=1000.0)
    expected = log_loss(margins(parts, batch), batch.labels.toarray()) / batch.labels.toarray().size
    loss, gradients = loss_and_gradients(parts, batch)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert np.abs(gradients.head).max() <= 1 / N_ROWS


def test_a_loss_that_is_not_a_number_is_not_hidden(encoded):
    rng = np.random.default_rng(4)
    batch = batch_with(encoded, 100, 2, rng)
    parts = random_parts(batch, 2, rng)
    parts.head[3, 5] = np.nan
    assert not np.isfinite(loss_and_gradients(parts, batch)[0])
    parts = random_parts(batch, 2, rng)
    parts.head[3, 5] = np.inf
    assert not np.isfinite(loss_and_gradients(parts, batch)[0])


def test_the_number_of_threads_does_not_change_a_bit(encoded, monkeypatch, threads_restored):
    monkeypatch.setattr(threads, "SHARED_FROM", 0)
    rng = np.random.default_rng(5)
    batch = batch_with(encoded, 300, 3, rng)
    parts = random_parts(batch, 3, rng, own=False)
    found = {}
    for count in (1, 2, 5):
        threads.set_threads(count)
        loss, gradients = loss_and_gradients(dataclasses.replace(parts, crossed=parts.crossed.copy()), batch)
        found[count] = [np.array(loss), gradients.head, gradients.prior_scale, gradients.crossed]
    for count in (2, 5):
        for one, other in zip(found[1], found[count], strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_exponential_is_good_to_two_units_in_the_last_place():
    x = np.concatenate((-np.logspace(-8, np.log10(87), 2000), [0.0])).astype(np.float32)
    found = np.array([exponential(value) for value in x])
    expected = np.array([float(decimal.Decimal(float(value)).exp()) for value in x])
    assert (np.abs(found - expected) <= 2 * np.spacing(expected.astype(np.float32))).all()
    assert 0.0 <= exponential(np.float32(-1e30)) < 1e-37
