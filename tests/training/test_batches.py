from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from propensity.training.batches import Batches
from propensity.training.encoded_examples import encode
from propensity.training.encoding import fit_encoder

from .planted import CATEGORIES, dictionary, examples


@pytest.fixture(scope="module")
def encoded():
    some = examples(50, 2, 1)
    return encode(fit_encoder(some, dictionary(), CATEGORIES, 1), some)


def test_a_pass_has_every_row_once_with_its_own_values(encoded):
    batches = Batches(encoded, 32, np.random.default_rng(0))
    order = np.random.default_rng(0).permutation(100)
    assert len(batches) == 4
    sizes = []
    start = 0
    for batch in batches:
        rows = order[start : start + 32]
        sizes.append(batch.labels.shape[0])
        np.testing.assert_array_equal(batch.deep.by_row.toarray(), encoded.rows.deep[rows].toarray())
        np.testing.assert_array_equal(batch.labels.toarray(), encoded.labels[rows].toarray())
        prior = batch.prior[batch.as_of_position]
        np.testing.assert_array_equal(prior, encoded.prior[encoded.as_of_position[rows]])
        row, position = batch.pair_row, batch.pair_position
        picked = encoded.rows.take(rows)
        np.testing.assert_array_equal(row, picked.pair_row)
        np.testing.assert_array_equal(position, picked.pair_position)
        np.testing.assert_array_equal(batch.pair_signals, picked.pair_signals)
        np.testing.assert_array_equal(batch.pair_prior[:, 0], prior[row, position])
        np.testing.assert_array_equal(np.repeat(np.arange(len(batch)), np.diff(batch.pair_indptr)), row)
        start += 32
    assert sizes == [32, 32, 32, 4]


def test_the_seed_gives_the_order_and_each_pass_has_its_own(encoded):
    def passes(seed):
        batches = Batches(encoded, 64, np.random.default_rng(seed))
        return [np.concatenate([batch.deep.by_row.toarray() for batch in batches]) for _ in range(2)]

    one, two = passes(3)
    again, _ = passes(3)
    other, _ = passes(4)
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_rows_without_history_make_a_batch_without_pairs():
    some = examples(4, 1, 1)
    encoder = fit_encoder(some, dictionary(), CATEGORIES, 1)
    strangers = dataclasses.replace(some, features=csr_matrix(some.features.shape, dtype=np.float32))
    (batch,) = Batches(encode(encoder, strangers), 8, np.random.default_rng(0))
    assert batch.pair_signals is None
    assert batch.deep.by_row.shape == (4, encoder.n_columns)


def test_labels_of_unknown_categories_are_dropped_and_missing_ones_are_zero():
    some = examples(20, 1, 1)
    encoder = fit_encoder(some, dictionary(), CATEGORIES, 1)
    wide = dataclasses.replace(some, labels=csr_matrix(np.hstack((some.labels.toarray(), np.ones((20, 2), np.int8)))))
    np.testing.assert_array_equal(encode(encoder, wide).labels.toarray(), some.labels.toarray())
    narrow = dataclasses.replace(some, labels=some.labels[:, :3])
    expected = some.labels.toarray()
    expected[:, 3:] = 0
    np.testing.assert_array_equal(encode(encoder, narrow).labels.toarray(), expected)
    assert narrow.labels.shape == (20, 3)
