from __future__ import annotations

from unittest import mock

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import vstack

from propensity.training import example_sums, stored_examples
from propensity.training.encoding import fit_encoder
from propensity.training.example_sums import add_up
from propensity.training.stored_examples import store_examples

from .planted import CATEGORIES, CROSS, dictionary, examples


def test_what_is_stored_comes_back_in_bounded_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_examples, "CHUNK_ROWS", 30)
    some = examples(50, 3, 1)
    stored = store_examples(some, tmp_path / "all")
    assert len(stored) == 150
    keep = np.array([True, False, True])
    for found, expected in ((stored, some), (stored.at(keep), some.at(keep))):
        chunks = list(found.chunks())
        assert {len(chunk) for chunk in chunks} == {30, 20}
        assert (vstack([chunk.features for chunk in chunks]) != expected.features).nnz == 0
        assert (vstack([chunk.labels for chunk in chunks]) != expected.labels).nnz == 0
        for name in ("customer_id", "as_of_position"):
            joined = np.concatenate([getattr(chunk, name) for chunk in chunks])
            np.testing.assert_array_equal(joined, getattr(expected, name))
        for chunk in chunks:
            assert chunk.labels.dtype == np.int8
            np.testing.assert_array_equal(chunk.as_of, expected.as_of)
            np.testing.assert_array_equal(chunk.popularity, expected.popularity)
        np.testing.assert_array_equal(found.rows_per_as_of, expected.rows_per_as_of)
        assert found.n_features == expected.n_features


def test_an_encoder_fitted_on_chunks_is_the_one_fitted_on_all_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_examples, "CHUNK_ROWS", 30)
    some = examples(70, 3, 2)
    arguments = (dictionary(), CATEGORIES, 5)
    whole = fit_encoder(some, *arguments, cross_signals=CROSS)
    chunked = fit_encoder(store_examples(some, tmp_path / "all"), *arguments, cross_signals=CROSS)
    for name, value in vars(whole).items():
        if isinstance(value, np.ndarray) and value.dtype == np.float32:
            # Sums of other parts: float64's rounding may show in float32's last digit.
            np.testing.assert_allclose(getattr(chunked, name), value, rtol=2e-7, err_msg=name)
        else:
            np.testing.assert_array_equal(getattr(chunked, name), value, err_msg=name)


@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_sums_are_those_of_the_dense_rows(seed, marks):
    some = examples(8, 2, seed)
    category_of = dictionary().category_index
    with mock.patch.object(example_sums, "MARKS", marks):  # blocks of a few rows
        sums = add_up(some, category_of)
    dense = some.features.toarray()
    values = np.log1p(dense).astype(np.float64)  # they are positive
    assert sums.n_rows == 16
    np.testing.assert_array_equal(sums.counts, (dense != 0).sum(axis=0))
    np.testing.assert_allclose(sums.sums, values.sum(axis=0), rtol=1e-6)
    np.testing.assert_allclose(sums.squares, (values**2).sum(axis=0), rtol=1e-6)
    seen = np.stack([(dense[:, category_of == category] != 0).any(axis=1) for category in range(len(CATEGORIES))])
    assert sums.n_pairs == seen.sum()
    np.testing.assert_array_equal(sums.labelled, np.flatnonzero(some.labels.toarray().any(axis=0)))
    feature = int(np.argmax(sums.counts))
    mean, std = sums.moments(np.array([feature]), among=16)
    np.testing.assert_allclose((mean, std), (values[:, feature].mean(), values[:, feature].std()), rtol=1e-5)


def test_a_constant_has_deviation_one():
    some = examples(300, 1, 1)
    some.features.data[:] = 7.3
    sums = add_up(some, dictionary().category_index)
    feature = int(np.argmax(sums.counts))
    assert sums.moments(np.array([feature]), among=int(sums.counts[feature]))[1] == 1.0
