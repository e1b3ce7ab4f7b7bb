"""The holdout window: check figures, unseen categories, and taking it from examples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from propensity.errors import InputError
from propensity.evaluation import HoldoutWindow, evaluate, expand

from .tiny_examples import DICTIONARY, examples

CATEGORIES = ("BREAD", "MILK", "WINE")


def window(**changes) -> HoldoutWindow:
    fields = {
        "customer_id": np.array(["a", "b"], dtype=object),
        "categories": CATEGORIES,
        "category_index": np.array([0, 1, 2], dtype=np.int32),
        "labels": np.array([[True, True, False], [False, False, False]]),
        "repeat": np.array([[True, False, False], [True, False, False]]),
        "training_label_counts": np.array([5, 1, 0]),
        "n_training_examples": 10,
    }
    return HoldoutWindow(**(fields | changes))


def test_check_figures() -> None:
    assert window().describe() == {
        "households": 2,
        "categories": 3,
        "label_density": 2 / 6,
        "positives_per_household": 1.0,
        "households_with_positive": 1,
        "categories_with_20_positives": 0,
        "repeat_share_of_positives": 0.5,
        "p_label_given_repeat": 0.5,
        "p_label_given_explore": 0.25,
    }


def test_check_figures_of_a_window_without_a_positive_are_not_numbers() -> None:
    figures = window(labels=np.zeros((2, 3), dtype=bool), repeat=np.zeros((2, 3), dtype=bool)).describe()
    assert math.isnan(figures["repeat_share_of_positives"])
    assert math.isnan(figures["p_label_given_repeat"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.zeros((2, 2), dtype=bool)}, r"labels has shape \(2, 2\)"),
        ({"training_label_counts": np.zeros(1)}, "training_label_counts"),
        ({"customer_id": np.array(["a", "a"], dtype=object)}, "twice"),
    ],
)
def test_a_window_that_does_not_fit_together_is_refused(changes, message) -> None:
    with pytest.raises(InputError, match=message):
        window(**changes)


def test_evaluate_is_the_function_with_the_training_counts() -> None:
    probabilities = np.array([[0.9, 0.2, 0.1], [0.3, 0.2, 0.1]], dtype=np.float32)
    one = window()
    assert one.evaluate(probabilities) == evaluate(
        one.labels, probabilities, one.repeat, training_label_counts=[5, 1, 0], n_training_examples=10
    )


def test_a_model_that_knows_fewer_categories_gives_the_others_its_prior() -> None:
    known = np.array([[0.9, 0.1], [0.8, 0.2]])
    assert (
        expand(known, [3, 1], 4, 0.25).tolist() == np.float32([[0.25, 0.1, 0.25, 0.9], [0.25, 0.2, 0.25, 0.8]]).tolist()
    )
    assert (
        expand(known, [3, 1], 4, [0.5, 0, 0.75, 0]).tolist()
        == np.float32([[0.5, 0.1, 0.75, 0.9], [0.5, 0.2, 0.75, 0.8]]).tolist()
    )
    assert expand(known, [0, 1], 2, 0.25).dtype == np.float32


@pytest.mark.parametrize(
    ("known", "n_categories", "prior", "message"),
    [
        ([0, 4], 4, 0.1, "must be in 0..3"),
        ([-1, 1], 4, 0.1, "must be in 0..3"),
        ([1, 1], 4, 0.1, "twice"),
        ([1], 4, 0.1, "one category index for each column"),
        ([0, 1], 4, 1.5, "prior must be a probability"),
        ([0, 1], 4, [0.1, 0.1], "prior must be a probability"),
        ([0, 1], 4, math.nan, "prior must be a probability"),
    ],
)
def test_expand_refuses_wrong_input(known, n_categories, prior, message) -> None:
    with pytest.raises(InputError, match=message):
        expand(np.zeros((2, 2)), known, n_categories, prior)


def test_align_drops_categories_the_window_lacks_and_fills_those_the_model_lacks() -> None:
    one = window(category_index=np.array([5, 0, 9], dtype=np.int32))
    aligned = one.align(np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]), [7, 0, 5], prior=0.75)
    assert aligned.tolist() == np.float32([[0.3, 0.2, 0.75], [0.6, 0.5, 0.75]]).tolist()
    by_index = one.align(np.zeros((2, 1)), [0], prior=np.arange(12) / 100)
    assert by_index[0].tolist() == np.float32([0.05, 0, 0.09]).tolist()


def test_from_examples() -> None:
    training, test = examples([0, 1]), examples([2])
    taken = HoldoutWindow.from_examples(test, training, DICTIONARY, CATEGORIES)
    assert taken.customer_id.tolist() == test.customer_id.tolist()
    assert (taken.labels == (test.labels.toarray() > 0)).all()
    assert (taken.repeat == (test.features.toarray()[:, [1, 3, 0]] > 0)).all()
    assert taken.training_label_counts.tolist() == (training.labels.toarray() > 0).sum(axis=0).tolist()
    assert taken.n_training_examples == len(training)
    part = HoldoutWindow.from_examples(test, training, DICTIONARY, ("WINE", "BREAD"), category_index=[2, 0])
    assert (part.labels == taken.labels[:, [2, 0]]).all()
    assert (part.repeat == taken.repeat[:, [2, 0]]).all()
    assert part.training_label_counts.tolist() == taken.training_label_counts[[2, 0]].tolist()


def test_from_examples_refuses_leaks_and_mixtures() -> None:
    with pytest.raises(InputError, match="leak"):
        HoldoutWindow.from_examples(examples([1]), examples([0, 1]), DICTIONARY, CATEGORIES)
    with pytest.raises(InputError, match="one as_of, not 2"):
        HoldoutWindow.from_examples(examples([1, 2]), examples([0]), DICTIONARY, CATEGORIES)
    with pytest.raises(InputError, match="needs labels"):
        HoldoutWindow.from_examples(examples([1], labelled=False), examples([0]), DICTIONARY, CATEGORIES)
    with pytest.raises(InputError, match=r"must be in 0\.\.2"):
        HoldoutWindow.from_examples(examples([1]), examples([0]), DICTIONARY, CATEGORIES, category_index=[0, 1, 3])
