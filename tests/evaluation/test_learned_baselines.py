"""Every baseline on customers with planted habits: what each must get right, whatever it is made of."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from propensity.baselines import BASELINES, SIMPLE, FitOptions, chosen
from propensity.baselines.calibrated import held_out
from propensity.baselines.lightgbm_pooled import LightGbmPooled
from propensity.baselines.pair_signals import PairLayout
from propensity.baselines.tifu_knn import TifuKnn
from propensity.errors import InputError, LookupFailedError, RuntimeMissingError, TrainingError
from propensity.evaluation import metrics

from .planted_history import CATEGORIES, DICTIONARY, NEW, planted

LEARNED = tuple(name for name in BASELINES if name not in SIMPLE)
CALIBRATED = tuple(name for name in BASELINES if name != "global_popularity")


@pytest.fixture(scope="module")
def rows():
    return planted()


@pytest.fixture(scope="module")
def fitted(rows):
    return {name: baseline(FitOptions()).fit(rows[0], DICTIONARY) for name, baseline in BASELINES.items()}


@pytest.fixture(scope="module")
def predicted(rows, fitted):
    return {name: each.predict(rows[1]) for name, each in fitted.items()}


@pytest.mark.parametrize("name", CALIBRATED)
def test_it_finds_the_planted_habits(name, rows, predicted) -> None:
    positive = (rows[1].labels > 0).toarray()
    popularity = predicted["global_popularity"]
    assert predicted[name].shape == (len(rows[1]), CATEGORIES)
    assert predicted[name].dtype == np.float32
    assert metrics.log_loss(positive, predicted[name]) < metrics.log_loss(positive, popularity) - 0.05
    assert metrics.micro_auc(positive, predicted[name]) > metrics.micro_auc(positive, popularity) + 0.05


@pytest.mark.parametrize("name", CALIBRATED)
def test_its_probabilities_mean_what_they_say(name, rows, predicted) -> None:
    positive = (rows[1].labels > 0).toarray()
    # The figure of the true chances themselves would be some .02 here: 3,200 pairs in 15 bins.
    assert metrics.expected_calibration_error(positive, predicted[name]) < 0.045
    seen = (rows[1].features[:, :CATEGORIES] > 0).toarray()
    for pairs in (seen, ~seen):
        assert predicted[name][pairs].mean() == pytest.approx(positive[pairs].mean(), abs=0.04)


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_same_data_give_the_same_bits_with_any_threads(name, threads, rows, predicted) -> None:
    again = BASELINES[name](FitOptions(threads=threads)).fit(rows[0], DICTIONARY).predict(rows[1])
    assert (again == predicted[name]).all()


@pytest.mark.parametrize("name", CALIBRATED)
def test_a_new_category_and_a_new_customer_are_never_certain(name, fitted, predicted, rows) -> None:
    assert (predicted[name] > 0).all()
    assert (predicted[name] < 1).all()
    assert predicted[name][:, NEW].max() < 0.05
    # A customer of whom nothing is known is about as likely to buy as those without history of the category.
    test = rows[1]
    features = test.features.tolil()
    features[0] = 0
    stranger = dataclasses.replace(test, features=csr_matrix(features), labels=None)
    unknown = fitted[name].predict(stranger)[0]
    seen = (test.features[:, :CATEGORIES] > 0).toarray()
    for category in range(CATEGORIES):
        others = predicted[name][~seen[:, category], category]
        assert others.min() - 0.05 <= unknown[category] <= others.max() + 0.05


@pytest.mark.parametrize("name", BASELINES)
def test_the_test_windows_labels_play_no_part(name, fitted, predicted, rows) -> None:
    order = np.random.default_rng(3).permutation(len(rows[1]))
    for labels in (rows[1].labels[order], None):
        shuffled = dataclasses.replace(rows[1], labels=labels)
        assert (fitted[name].predict(shuffled) == predicted[name]).all()


@pytest.mark.parametrize("name", LEARNED)
def test_a_category_that_came_up_since_is_predicted_at_its_popularity(name, fitted, rows) -> None:
    test = rows[1]
    wider = dataclasses.replace(
        test, labels=None, popularity=np.hstack((test.popularity, np.zeros((1, 1), dtype=np.float32)))
    )
    probability = fitted[name].predict(wider)
    assert probability.shape == (len(test), CATEGORIES + 1)
    assert (probability[:, -1] > 0).all()
    assert probability[:, -1].max() < 0.05


@pytest.mark.parametrize("name", LEARNED)
def test_features_that_it_does_not_know_are_refused(name, fitted, rows) -> None:
    wider = csr_matrix((len(rows[1]), len(DICTIONARY) + 1), dtype=np.float32)
    with pytest.raises(InputError, match=r"26 features, the dictionary 25.*Load it again"):
        fitted[name].predict(dataclasses.replace(rows[1], features=wider))


@pytest.mark.parametrize("name", LEARNED)
def test_it_needs_labels(name, rows) -> None:
    with pytest.raises(TrainingError, match=r"needs training rows with labels\. Build them: propensity labels build"):
        BASELINES[name]().fit(dataclasses.replace(rows[0], labels=None), DICTIONARY)


def test_calibration_is_held_out_from_windows_that_had_ended(rows) -> None:
    first, newest = held_out(rows[0], 30, "It")
    assert list(first.as_of) == list(rows[0].as_of[:2])
    assert list(newest.as_of) == list(rows[0].as_of[2:])
    assert list(held_out(rows[0], 31, "It")[0].as_of) == list(rows[0].as_of[:1])
    with pytest.raises(TrainingError, match=r"no training window .* ended before it\. Train with more cut-offs"):
        held_out(rows[0], 90, "It")


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("lightgbm_pooled", "lightgbm", "lightgbm"),
        ("lightgbm_per_category", "lightgbm", "lightgbm"),
        ("logistic_regression", "sklearn.linear_model", "baselines"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(name, package, extra, rows, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RuntimeMissingError, match=rf"^[^\n]*pip install 'propensity\[{extra}\]'[^\n]*$"):
        BASELINES[name]().fit(rows[0], DICTIONARY)


def test_baselines_are_chosen_by_name() -> None:
    assert chosen("all") == tuple(BASELINES)
    assert chosen("simple") == SIMPLE
    assert chosen("tifu_knn, personal_frequency") == ("personal_frequency", "tifu_knn")
    assert chosen(["simple", "tifu_knn", "tifu_knn"]) == (*SIMPLE, "tifu_knn")
    with pytest.raises(LookupFailedError, match=r"'tifu_kn' is not a baseline\. Did you mean 'tifu_knn'\?"):
        chosen("tifu_kn")
    with pytest.raises(LookupFailedError, match="No baseline is named"):
        chosen([])


def test_negatives_left_out_do_not_shift_the_pooled_forest(rows, monkeypatch) -> None:
    shares = {}
    for share in (0.1, 0.9):
        monkeypatch.setattr(LightGbmPooled, "kept_share", share)
        margins = LightGbmPooled().learn(rows[0], DICTIONARY).margins(rows[1])
        seen = (rows[1].features[:, :CATEGORIES] > 0).toarray()
        shares[share] = (1 / (1 + np.exp(-margins)))[~seen].mean()
    truth = (rows[1].labels > 0).toarray()[~seen].mean()
    # Uncorrected, a tenth of the negatives would make it several times too high.
    assert shares[0.1] == pytest.approx(truth, rel=0.3)
    assert shares[0.9] == pytest.approx(truth, rel=0.3)


def test_tifu_knn_is_the_plain_double_loop(rows, monkeypatch) -> None:
    from propensity.baselines import tifu_knn  # noqa: PLC0415 - for its block size

    monkeypatch.setattr(tifu_knn, "BLOCK_CELLS", 7 * len(rows[1]))
    vectors = tifu_knn._vectors(rows[1], DICTIONARY, TifuKnn.signal)
    dense = vectors.toarray().astype(np.float64)
    blocks = list(tifu_knn._scores(vectors, 20, 0.7))
    assert len(blocks) > 50
    scores = np.concatenate([score for _, score in blocks])
    assert (np.concatenate([block for block, _ in blocks]) == np.arange(len(dense))).all()
    for row in range(0, len(dense), 37):
        own = dense[row]
        if not own.any():
            assert scores[row] == pytest.approx(0.3 * dense.mean(axis=0), abs=1e-5)
            continue
        likeness = [
            -np.inf if other == row else own @ line / (np.linalg.norm(own) * max(np.linalg.norm(line), 1e-12))
            for other, line in enumerate(dense)
        ]
        # Ties at the edge may go either way: what counts is that the neighbours chosen are as near.
        kth = np.sort(likeness)[-20]
        sure = np.flatnonzero(np.array(likeness) > kth + 1e-6)
        edge = np.flatnonzero(np.abs(np.array(likeness) - kth) <= 1e-6)
        left = (scores[row] - 0.7 * own) / 0.3 * 20 - dense[sure].sum(axis=0)
        n_edge = 20 - len(sure)
        assert (left >= n_edge * dense[edge].min(axis=0) - 1e-3).all()
        assert (left <= n_edge * dense[edge].max(axis=0) + 1e-3).all()


def test_pairs_and_rhythm_are_the_plain_loop(rows) -> None:
    layout = PairLayout.of(DICTIONARY)
    assert layout.household_signals == ("profile.tenure_days",)
    pairs, dense = layout.pairs(rows[1]), rows[1].features.toarray()
    assert (layout.households(rows[1])[:, 0] == dense[:, -1]).all()
    found = np.zeros((len(rows[1]), CATEGORIES, len(layout.signals)))
    found[pairs.row, pairs.category] = pairs.signals
    for column, signal in enumerate(layout.signals):
        of_signal = DICTIONARY.signal == signal.removeprefix("purchases.")
        assert (found[:, :, column] == dense[:, of_signal]).all()
