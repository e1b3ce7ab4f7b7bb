"""The metrics and baselines reproduce EVALUATION.md's figures from the raw files.

The data are Complete Journey's, which the package's metadata calls simulated.
"""

from __future__ import annotations

import time
from datetime import date

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from propensity.baselines import BASELINES, SIMPLE
from propensity.evaluation import Evaluation, HoldoutWindow, log_loss_difference
from propensity.evaluation.report import to_markdown
from propensity.features.dictionary import FeatureDictionary
from propensity.training.examples import Examples

from .complete_journey_windows import CompleteJourney

CUTOFF = date(2017, 11, 1)
# The label window of the last ends on 2017-11-01, local days.
TRAINING = [date(2017, 9, 4), date(2017, 9, 18), date(2017, 10, 2)]


@pytest.fixture(scope="module")
def journey() -> CompleteJourney:
    return CompleteJourney()


@pytest.fixture(scope="module")
def test_set(journey: CompleteJourney) -> tuple[Examples, FeatureDictionary]:
    return journey.examples([CUTOFF])


@pytest.fixture(scope="module")
def training_set(journey: CompleteJourney) -> Examples:
    return journey.examples(TRAINING)[0]


@pytest.fixture(scope="module")
def window(journey, test_set, training_set) -> HoldoutWindow:
    examples, dictionary = test_set
    return HoldoutWindow.from_examples(examples, training_set, dictionary, journey.categories)


@pytest.fixture(scope="module")
def probabilities(test_set, training_set) -> dict[str, np.ndarray]:
    examples, dictionary = test_set
    return {
        name: rule().fit(training_set, dictionary).predict(examples)
        for name, rule in BASELINES.items()
        if name in SIMPLE
    }


@pytest.fixture(scope="module")
def evaluations(window, probabilities) -> dict[str, Evaluation]:
    return {name: window.evaluate(probability) for name, probability in probabilities.items()}


def test_check_figures_of_the_window(window: HoldoutWindow) -> None:
    figures = window.describe()
    print(figures)
    assert figures["households"] == 2452
    assert figures["categories"] == 301
    assert figures["label_density"] == pytest.approx(0.082471, abs=5e-7)
    assert figures["positives_per_household"] == pytest.approx(24.824, abs=5e-4)
    assert figures["households_with_positive"] == 2050
    assert figures["categories_with_20_positives"] == 222
    assert figures["repeat_share_of_positives"] == pytest.approx(0.84535, abs=5e-6)
    assert figures["p_label_given_repeat"] == pytest.approx(0.251329, abs=5e-7)
    assert figures["p_label_given_explore"] == pytest.approx(0.017650, abs=5e-7)


def test_check_figures_of_global_popularity(window, probabilities, evaluations) -> None:
    popularity = evaluations["global_popularity"]
    print(popularity.to_dict())
    assert popularity.all.log_loss == pytest.approx(0.22893, abs=5e-6)
    assert popularity.all.ndcg_at_10 == pytest.approx(0.5612, abs=5e-5)
    # The published .82187 and explore AUC .7672 are off by up to one in the last digit: they come from an AUC
    # that breaks ties by row order, as the published macro AUC of .4998 shows. Every customer gets the same
    # popularity, so it is one half when ties count half. Over random row orders such a micro AUC varies by
    # 2.4e-5 (standard deviation).
    assert popularity.all.micro_auc == pytest.approx(0.82187, abs=1e-5)
    assert popularity.explore.micro_auc == pytest.approx(0.7672, abs=1e-4)
    assert popularity.all.macro_auc == 0.5
    # What counting ties half gives, exactly.
    share = probabilities["global_popularity"]
    assert popularity.all.micro_auc == pytest.approx(roc_auc_score(window.labels.ravel(), share.ravel()), abs=1e-12)
    assert popularity.all.micro_auc == pytest.approx(0.821862, abs=5e-7)
    assert popularity.explore.micro_auc == pytest.approx(0.767147, abs=5e-7)
    assert popularity.all.top_decile_lift == pytest.approx(1)
    assert popularity.all.macro_categories == 222


def test_personal_history_beats_popularity_and_forgetting_helps(window, probabilities, evaluations) -> None:
    print(to_markdown(evaluations))
    log_losses = [evaluations[name].all.log_loss for name in SIMPLE]
    assert log_losses == sorted(log_losses, reverse=True)
    for better in ("personal_frequency", "recency_weighted_frequency"):
        interval = log_loss_difference(
            window.labels, probabilities[better], probabilities["global_popularity"], resamples=200
        )
        print(better, "-", "global_popularity", interval)
        assert interval.low < interval.mean < interval.high < 0
    # Calibrated on earlier cut-offs only, so this says that the maps carry over.
    assert evaluations["personal_frequency"].all.ece < 0.01
    assert evaluations["recency_weighted_frequency"].all.ece < 0.01


def test_categories_unknown_at_the_cutoff_get_the_prior(window, probabilities, evaluations) -> None:
    popularity = probabilities["global_popularity"]
    known = np.flatnonzero(popularity[0] > 0)
    assert 0 < len(known) < len(window.categories)
    shuffled = np.random.default_rng(7).permutation(known)
    aligned = window.align(popularity[:, shuffled], shuffled, prior=0.0)
    assert window.evaluate(aligned) == evaluations["global_popularity"]


def test_evaluation_takes_less_than_two_seconds(window, probabilities) -> None:
    seconds = []
    for _ in range(3):  # the best of three: other work on the machine must not decide
        started = time.process_time()
        window.evaluate(probabilities["recency_weighted_frequency"])
        seconds.append(time.process_time() - started)
    print(seconds)
    assert min(seconds) < 2
