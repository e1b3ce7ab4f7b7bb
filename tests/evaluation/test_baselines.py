"""Baselines on data with one known right answer, and the matrix they count with."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from propensity.baselines import BASELINES, SIMPLE
from propensity.baselines.frequency import PersonalFrequency
from propensity.errors import InputError, LookupFailedError, TrainingError
from propensity.features.dictionary import FeatureDictionary
from propensity.training.aligned_signal import aligned_signal
from propensity.training.examples import Examples

from .tiny_examples import BREAD_COUNT, DICTIONARY, POPULARITY, examples


def test_an_aligned_signal_has_its_values_by_category() -> None:
    counts = aligned_signal(examples([0, 1]), DICTIONARY, "purchases_365d")
    expected = np.tile(np.stack([BREAD_COUNT, BREAD_COUNT[::-1], np.zeros(12)], axis=1), (2, 1))
    assert counts.dtype == np.float32
    assert counts.has_sorted_indices
    assert (counts.toarray() == expected).all()


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_an_aligned_signal_is_the_plain_loop(seed) -> None:
    generator = np.random.default_rng(seed)
    rows, n_features, n_categories = generator.integers(1, 9, size=3)
    features = generator.integers(0, 3, size=(rows, n_features)).astype(np.float32)
    names = generator.choice(["a", "b"], size=n_features).astype(object)
    category = np.full(n_features, -1, dtype=np.int32)
    for name in ("a", "b"):  # one feature a (signal, category) at most
        free = list(generator.permutation(n_categories))
        for column in np.flatnonzero(names == name):
            category[column] = free.pop() if free else -1
    dictionary = FeatureDictionary(names, names, names, category)
    stored = csr_matrix(features)
    stored.data[generator.random(stored.nnz) < 0.2] = 0  # stored zeros stay out
    some = Examples(
        customer_id=np.arange(rows).astype(object),
        as_of=np.array(["2024-01-01"], dtype="datetime64[us]"),
        as_of_position=np.zeros(rows, dtype=np.int32),
        features=stored,
        labels=None,
        popularity=np.zeros((1, n_categories), dtype=np.float32),
    )
    expected = np.zeros((rows, n_categories))
    for row in range(rows):
        for column in range(n_features):
            if names[column] == "a" and category[column] >= 0:
                expected[row, category[column]] = stored[row, column]
    if not ((names == "a") & (category >= 0)).any():
        with pytest.raises(LookupFailedError):
            aligned_signal(some, dictionary, "a")
        return
    counts = aligned_signal(some, dictionary, "a")
    assert (counts.toarray() == expected).all()
    assert (counts.data != 0).all()


def test_an_unknown_signal_is_named_with_the_known_ones() -> None:
    with pytest.raises(LookupFailedError, match=r"Did you mean 'purchases_365d'\? Known ones: purchases_365d, purch"):
        aligned_signal(examples([0]), DICTIONARY, "purchases_356d")
    with pytest.raises(LookupFailedError, match="'tenure' is not a category-aligned signal"):
        aligned_signal(examples([0]), DICTIONARY, "tenure")


def test_a_dictionary_that_does_not_fit_the_examples_is_refused() -> None:
    short = FeatureDictionary(*(getattr(DICTIONARY, f.name)[:4] for f in dataclasses.fields(DICTIONARY)))
    with pytest.raises(InputError, match="7 features, the dictionary 4"):
        aligned_signal(examples([0]), short, "purchases_365d")
    fewer = dataclasses.replace(examples([0]), popularity=np.zeros((1, 2), dtype=np.float32))
    with pytest.raises(InputError, match="category_index 2, but the examples have 2"):
        aligned_signal(fewer, DICTIONARY, "purchases_365d")


def test_a_dictionary_that_has_grown_since_is_fine() -> None:
    old = examples([0])
    grown = FeatureDictionary(
        *(
            np.append(getattr(DICTIONARY, f.name), getattr(DICTIONARY, f.name)[:1])
            for f in dataclasses.fields(DICTIONARY)
        )
    )
    one, other = (aligned_signal(old, each, "purchases_365d") for each in (DICTIONARY, grown))
    assert (one != other).nnz == 0


@pytest.mark.parametrize("name", SIMPLE)
def test_every_baseline_predicts_dense_probabilities_of_the_rows_it_is_given(name) -> None:
    fitted = BASELINES[name]().fit(examples([0, 1]), DICTIONARY)
    one = fitted.predict(examples([2], labelled=False))
    assert one.shape == (12, 3)
    assert one.dtype == np.float32
    assert ((one >= 0) & (one <= 1)).all()
    assert (fitted.predict(examples([2, 0])) == np.tile(one, (2, 1))).all()


def test_global_popularity_is_the_share_at_the_rows_as_of() -> None:
    both = examples([0, 1])
    both.popularity[1] = [0.1, 0.2, 0.3]
    predicted = BASELINES["global_popularity"]().fit(both, DICTIONARY).predict(both)
    assert (predicted[:12] == POPULARITY.astype(np.float32)).all()
    assert (predicted[12:] == np.float32([0.1, 0.2, 0.3])).all()


@pytest.mark.parametrize(("name", "scale"), [("personal_frequency", 1), ("recency_weighted_frequency", 1 / 8)])
def test_frequency_gives_the_share_of_positives_at_a_count(name, scale) -> None:
    fitted = BASELINES[name]().fit(examples([0, 1]), DICTIONARY)
    # One as_of and two categories: 8 pairs at each count, 6 and 2 of them positive, plus 1/2 of 1.
    at_three, at_one = 6.5 / 9, 2.5 / 9
    assert fitted.seen.score == pytest.approx([1 * scale, 3 * scale])
    assert fitted.seen.probability == pytest.approx([at_one, at_three])
    predicted = fitted.predict(examples([2]))
    assert predicted[:8, 0] == pytest.approx([at_three] * 4 + [at_one] * 4)
    assert predicted[4:, 1] == pytest.approx([at_one] * 4 + [at_three] * 4)


def test_pairs_without_history_rest_on_their_calibrated_popularity() -> None:
    # 8 BREAD and MILK pairs without a positive at popularity .4, 12 WINE pairs with one at .05.
    training = examples([0], popularity=np.array([0.4, 0.4, 0.05]))
    fitted = PersonalFrequency().fit(training, DICTIONARY)
    assert fitted.unseen(np.array([0.05])) == pytest.approx([1 / 12], abs=0.01)
    assert fitted.unseen(np.array([0.4])) < 0.01
    predicted = fitted.predict(examples([2], popularity=np.array([0.4, 0.05, 0.4])))
    assert predicted[0, 1] == pytest.approx(1 / 12, abs=0.01)
    assert predicted[8:, 0] == pytest.approx([predicted[0, 2]] * 4)


def test_without_any_history_popularity_decides_alone() -> None:
    training = dataclasses.replace(examples([0]), features=csr_matrix((12, 7), dtype=np.float32))
    predicted = PersonalFrequency().fit(training, DICTIONARY).predict(examples([2]))
    assert len(np.unique(predicted[:, 0])) == 1


def test_a_value_between_two_counts_lies_between_their_shares() -> None:
    fitted = PersonalFrequency().fit(examples([0, 1]), DICTIONARY)
    assert fitted.seen(np.array([0.5, 2, 30])) == pytest.approx([2.5 / 9, 4.5 / 9, 6.5 / 9])


@pytest.mark.parametrize("name", ["personal_frequency", "recency_weighted_frequency"])
def test_frequency_is_calibrated_on_the_newest_as_of(name) -> None:
    training = examples([0, 1])
    other_story = training.labels.toarray()
    other_story[:12] = 0
    training = dataclasses.replace(training, labels=csr_matrix(other_story))
    one = BASELINES[name]().fit(training, DICTIONARY).predict(examples([2]))
    assert (one == BASELINES[name]().fit(examples([1]), DICTIONARY).predict(examples([2]))).all()


def test_training_needs_rows_and_labels() -> None:
    with pytest.raises(TrainingError, match="PersonalFrequency needs training rows with labels"):
        PersonalFrequency().fit(examples([0], labelled=False), DICTIONARY)
    with pytest.raises(TrainingError):
        PersonalFrequency().fit(examples([0]).at(np.array([False])), DICTIONARY)
