from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from propensity.errors import ArtifactError, TrainingError
from propensity.features.dictionary import FeatureDictionary
from propensity.models.encoding import Encoder
from propensity.training.encoding import ROW_LENGTH, fit_encoder
from propensity.training.examples import Examples

N_CATALOGUE = 5
NAMES = [f"C{i}" for i in range(N_CATALOGUE)]


@st.composite
def random_sets(draw):
    """(examples to fit on, examples to transform, dictionary): some features aligned, gaps anywhere."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_features = draw(st.integers(1, 14))
    category = rng.integers(-1, N_CATALOGUE, n_features).astype(np.int32)
    signal = np.array([f"s{i}" for i in rng.integers(0, 3, n_features)], object)
    seen: set[tuple[str, int]] = set()
    for i in range(n_features):  # a dictionary names a (signal, category) once
        if category[i] >= 0 and (signal[i], category[i]) in seen:
            category[i] = -1
        seen.add((signal[i], category[i]))
    dictionary = FeatureDictionary(
        family=np.array(["f"] * n_features, object),
        signal=signal,
        key=np.array([f"k{i}" for i in range(n_features)], object),
        category_index=category,
    )

    def some_examples(n_rows: int, width: int) -> Examples:
        dense = rng.gamma(1.0, 5.0, (n_rows, width)) * (rng.random((n_rows, width)) < 0.4)
        labels = rng.random((n_rows, N_CATALOGUE)) < 0.2
        labels[0, 2] = True
        return Examples(
            customer_id=np.array([str(i) for i in range(n_rows)], object),
            as_of=np.array(["2024-01-01"], "datetime64[us]"),
            as_of_position=np.zeros(n_rows, np.int32),
            features=csr_matrix(dense.astype(np.float32)),
            labels=csr_matrix(labels.astype(np.int8)),
            popularity=rng.random((1, N_CATALOGUE)).astype(np.float32),
        )

    # The second set may be narrower or wider: the dictionary grows, and a batch needn't hold all features.
    width = draw(st.integers(1, n_features + 3))
    return (
        some_examples(draw(st.integers(1, 12)), n_features),
        some_examples(draw(st.integers(1, 9)), width),
        dictionary,
    )


def brute_force(fit_on, dictionary, min_rows, transformed, aligned_columns):
    """What the encoder should do, one value at a time."""
    fitted, dense = fit_on.features.toarray(), transformed.features.toarray()
    n_features = fitted.shape[1]
    count = [int((fitted[:, j] != 0).sum()) for j in range(n_features)]
    labels = fit_on.labels.toarray()
    categories = [
        c
        for c in range(N_CATALOGUE)
        if labels[:, c].any() or any(dictionary.category_index[j] == c and count[j] for j in range(n_features))
    ]
    columns = [
        j for j in range(n_features) if count[j] >= min_rows and (aligned_columns or dictionary.category_index[j] < 0)
    ]
    columns.sort(key=lambda j: (-count[j], j))
    deep = np.zeros((len(dense), max(len(columns), 1)))
    cubes = sum((count[j] / len(fitted)) ** 3 for j in columns)
    for k, j in enumerate(columns):
        if j >= dense.shape[1]:
            continue
        size = np.sqrt(np.mean([np.log1p(v) ** 2 for v in fitted[:, j] if v != 0]))
        wanted = count[j] / len(fitted) * np.sqrt(ROW_LENGTH / cubes)
        for i in range(len(dense)):
            deep[i, k] = np.log1p(dense[i, j]) / size * wanted
    aligned = [j for j in range(n_features) if dictionary.category_index[j] >= 0 and count[j]]
    signals = sorted({dictionary.signal[j] for j in aligned})

    def pairs_of(matrix):
        found = {}
        for i in range(len(matrix)):
            for j in aligned:
                if j < matrix.shape[1] and matrix[i, j] != 0:
                    key = (i, categories.index(dictionary.category_index[j]))
                    line = found.setdefault(key, [0.0] * len(signals))
                    line[signals.index(dictionary.signal[j])] = np.log1p(matrix[i, j])
        return found

    lines = list(pairs_of(fitted).values())
    known = np.array(lines).reshape(len(lines), len(signals))
    std = known.std(axis=0) if len(known) else np.ones(len(signals))
    std[std <= 1e-6] = 1.0
    pairs = {key: (np.array(line) - known.mean(axis=0)) / std for key, line in sorted(pairs_of(dense).items())}
    return categories, signals, deep, pairs


@settings(max_examples=150, deadline=None)
@given(random_sets(), st.integers(1, 3), st.booleans())
def test_the_encoder_agrees_with_a_loop(sets, min_rows, aligned_columns):
    fit_on, transformed, dictionary = sets
    encoder = fit_encoder(fit_on, dictionary, NAMES, min_rows, aligned_columns=aligned_columns)
    rows = encoder.transform(transformed.features)
    categories, signals, deep, pairs = brute_force(fit_on, dictionary, min_rows, transformed, aligned_columns)
    assert encoder.category_index.tolist() == categories
    assert encoder.categories == tuple(NAMES[c] for c in categories)
    assert encoder.aligned_signals == tuple(signals)
    np.testing.assert_allclose(rows.deep.toarray(), deep, rtol=1e-4, atol=1e-5)
    assert list(zip(rows.pair_row.tolist(), rows.pair_position.tolist(), strict=True)) == list(pairs)
    if pairs:
        # Deviations near the 1e-6 threshold magnify float32's rounding.
        np.testing.assert_allclose(rows.pair_signals, list(pairs.values()), rtol=1e-2, atol=1e-2)


@settings(max_examples=60, deadline=None)
@given(random_sets(), st.data())
def test_rows_can_be_taken_and_sliced(sets, data):
    fit_on, transformed, dictionary = sets
    encoder = fit_encoder(fit_on, dictionary, NAMES, 1)
    rows = encoder.transform(transformed.features)
    picked = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=12)), np.int64)
    start, stop = sorted(data.draw(st.tuples(st.integers(0, len(rows)), st.integers(0, len(rows)))))
    for chosen, part in ((picked, rows.take(picked)), (np.arange(start, stop), rows.slice(start, stop))):
        assert len(part) == len(chosen)
        again = encoder.transform(csr_matrix(transformed.features[chosen]))
        np.testing.assert_array_equal(part.deep.toarray(), again.deep.toarray())
        np.testing.assert_array_equal(part.pair_row, again.pair_row)
        np.testing.assert_array_equal(part.pair_position, again.pair_position)
        np.testing.assert_array_equal(part.pair_signals, again.pair_signals)


@settings(max_examples=40, deadline=None)
@given(random_sets())
def test_files_give_the_same_encoder_back(tmp_path_factory, sets):
    fit_on, transformed, dictionary = sets
    directory = tmp_path_factory.mktemp("encoder")
    encoder = fit_encoder(fit_on, dictionary, NAMES, 2)
    encoder.write(directory, dictionary)
    again = Encoder.read(directory)
    for field in dataclasses.fields(Encoder):
        np.testing.assert_array_equal(getattr(encoder, field.name), getattr(again, field.name))
    one, two = encoder.transform(transformed.features), again.transform(transformed.features)
    np.testing.assert_array_equal(one.deep.toarray(), two.deep.toarray())
    np.testing.assert_array_equal(one.pair_signals, two.pair_signals)


@settings(max_examples=30, deadline=None)
@given(random_sets())
def test_popularity_comes_in_the_models_order(sets):
    fit_on, _, dictionary = sets
    encoder = fit_encoder(fit_on, dictionary, NAMES, 1)
    narrow = fit_on.popularity[:, :3]
    for column, index in enumerate(encoder.category_index):
        share = narrow[0, index] if index < 3 else 0.0
        share = min(max(share, 1e-4), 1 - 1e-4)
        assert encoder.prior(narrow)[0, column] == pytest.approx(np.log(share / (1 - share)), abs=1e-4)


def test_equal_signal_names_of_two_families_stay_apart():
    dictionary = FeatureDictionary(
        family=np.array(["purchases", "promotions"], object),
        signal=np.array(["share_90d", "share_90d"], object),
        key=np.array(["C0", "C0"], object),
        category_index=np.zeros(2, np.int32),
    )
    examples = Examples(
        customer_id=np.array(["a", "b"], object),
        as_of=np.array(["2024-01-01"], "datetime64[us]"),
        as_of_position=np.zeros(2, np.int32),
        features=csr_matrix(np.array([[1, 3], [2, 0]], np.float32)),
        labels=csr_matrix(np.ones((2, 1), np.int8)),
        popularity=np.ones((1, 1), np.float32),
    )
    encoder = fit_encoder(examples, dictionary, NAMES, 1)
    assert encoder.aligned_signals == ("promotions.share_90d", "purchases.share_90d")
    raw = encoder.transform(examples.features).pair_signals * encoder.signal_std + encoder.signal_mean
    np.testing.assert_allclose(np.expm1(raw), [[3, 1], [0, 2]], atol=1e-5)


def test_sets_without_evidence_or_names_are_refused():
    empty = Examples(
        customer_id=np.array(["a"], object),
        as_of=np.array(["2024-01-01"], "datetime64[us]"),
        as_of_position=np.zeros(1, np.int32),
        features=csr_matrix((1, 1), dtype=np.float32),
        labels=csr_matrix((1, 7), dtype=np.int8),
        popularity=np.zeros((1, 7), np.float32),
    )
    names = np.array(["x"], object)
    dictionary = FeatureDictionary(names, names, names, np.array([-1], np.int32))
    with pytest.raises(TrainingError, match="No category has a label or a signal"):
        fit_encoder(empty, dictionary, NAMES, 1)
    late = dataclasses.replace(empty, labels=csr_matrix(([1], ([0], [6])), shape=(1, 7), dtype=np.int8))
    with pytest.raises(TrainingError, match="category 6, but 5 names"):
        fit_encoder(late, dictionary, NAMES, 1)
    wide = dataclasses.replace(empty, features=csr_matrix((1, 2), dtype=np.float32))
    with pytest.raises(TrainingError, match="2 features, the dictionary names 1"):
        fit_encoder(wide, dictionary, NAMES, 1)


def test_an_unreadable_encoder_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="encoder's files can't be read"):
        Encoder.read(tmp_path)


@settings(max_examples=30, deadline=None)
@given(random_sets())
def test_training_rows_have_the_agreed_mean_squared_length(sets):
    fit_on, _, dictionary = sets
    deep = fit_encoder(fit_on, dictionary, NAMES, 1).transform(fit_on.features).deep
    if deep.nnz:
        assert (deep.data.astype(np.float64) ** 2).sum() / len(fit_on) == pytest.approx(ROW_LENGTH, rel=1e-4)
