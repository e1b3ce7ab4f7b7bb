from __future__ import annotations

import dataclasses
import threading
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.metrics import log_loss, roc_auc_score

from propensity.errors import TrainingError
from propensity.scoring.scorer import Scorer
from propensity.training import calibration, descent, encoded_files, stored_examples
from propensity.training.descent import AS_GOOD, multilabel_log_loss
from propensity.training.encoded_examples import encode
from propensity.training.encoded_files import EncodedFiles
from propensity.training.fitting import fit
from propensity.training.mxnet_runtime import mx
from propensity.training.stored_examples import store_examples

from . import planted
from .planted import CATEGORIES, QUICK, dictionary, examples, fit_quickly, fitted, true_propensity


@pytest.mark.parametrize("n_classes", [2, 3])
def test_planted_repeat_behaviour_is_learned(n_classes):
    """The net comes near the probabilities that the labels were drawn with, and popularity alone doesn't."""
    test = examples(500, 1, 99, n_classes)
    label = (test.labels.toarray() > 0).ravel()
    best = true_propensity(test.features).ravel()
    found = Scorer(fitted(n_classes).model).score_examples(test).ravel()
    popular = np.broadcast_to(test.popularity[0], test.labels.shape).ravel()
    assert log_loss(label, found) < log_loss(label, best) + 0.02
    assert log_loss(label, popular) > log_loss(label, best) + 0.1
    assert roc_auc_score(label, found) > roc_auc_score(label, best) - 0.02
    assert found.mean() == pytest.approx(label.mean(), abs=0.02)


def test_the_published_net_alone_learns_less_of_it():
    test = examples(500, 1, 99)
    label = (test.labels.toarray() > 0).ravel()
    losses = {
        network: log_loss(label, Scorer(fitted(2, network).model).score_examples(test).ravel())
        for network in ("category_aligned", "feed_forward")
    }
    assert losses["category_aligned"] < losses["feed_forward"] - 0.01


def test_equal_seeds_give_equal_bits_and_others_dont():
    one, two, other = fit_quickly(epochs=2), fit_quickly(epochs=2), fit_quickly(epochs=2, seed=8)
    assert one.history == two.history
    for name, value in one.model.nets[0].items():
        assert value.tobytes() == two.model.nets[0][name].tobytes(), name
    np.testing.assert_array_equal(one.model.calibration.slope, two.model.calibration.slope)
    assert one.exports == two.exports
    assert one.history != other.history


@pytest.mark.parametrize(
    ("losses", "best", "heard"),
    [
        ([0.50, 0.40, 0.45, 0.46, 0.30, 0.30], 2, 4),  # patience ends the search before the fifth
        ([0.50, 0.40, 0.40 * (1 + AS_GOOD / 2), 0.45, 0.46, 0.30], 3, 5),  # as good as the best, and later
        ([0.50, 0.40, 0.45, 0.39, 0.38, 0.37], 6, 6),
        ([0.40, 0.40 * (1 + AS_GOOD * 0.9), 0.40 * (1 + AS_GOOD * 1.8), 0.5, 0.5, 0.5], 2, 4),  # no creeping up
    ],
)
def test_the_best_epoch_is_kept_and_patience_ends_the_search(monkeypatch, losses, best, heard):
    script, nets = iter(losses), []

    def scripted(weights, *_):
        nets.append(weights)
        return next(script)

    monkeypatch.setattr(descent, "validation_loss", scripted)
    model = fit_quickly(epochs=6, patience=2)
    assert [entry["validation"] for entry in model.history] == losses[:heard]
    assert model.best_epoch == best
    assert model.model.nets[0] is nets[best - 1]


def test_the_margins_of_several_nets_are_averaged_and_only_the_first_stops_early():
    train, validation = examples(300, 1, 1), examples(300, 1, 2)
    arguments = {"dictionary": dictionary(), "categories": CATEGORIES}
    settings = QUICK.model_copy(update={"nets": 3})
    both = fit(train, validation, train, settings=settings, **arguments)
    assert len(both.model.nets) == len(both.validated.nets) == 3
    assert set(both.exports) == {f"mxnet-{number:04d}.params" for number in range(3)}
    told = {(entry["stage"], entry["net"]): entry["validation"] is None for entry in both.history}
    assert told == {(stage, net): stage == "refit" or net > 0 for stage in ("fit", "refit") for net in range(3)}
    encoded = encode(both.model.encoder, validation)
    arrays = (encoded.rows, encoded.prior, encoded.as_of_position)
    models = (both.model, *(replace(both.model, nets=(net,)) for net in both.model.nets))
    mean, *alone = (np.concatenate(list(model.forward.margins(*arrays))) for model in models)
    assert np.abs(alone[0] - alone[1]).max() > 0.01
    np.testing.assert_allclose(mean, np.mean(alone, axis=0), atol=1e-5)
    one = fit(train, validation, train, settings=QUICK, **arguments)
    for name, value in one.model.nets[0].items():
        assert value.tobytes() == both.model.nets[0][name].tobytes()


def test_a_refit_takes_the_chosen_epochs_and_keeps_the_calibration():
    train, validation = examples(300, 1, 1), examples(300, 1, 2)
    arguments = {"dictionary": dictionary(), "categories": CATEGORIES, "settings": QUICK}
    first = fit(train, validation, None, **arguments)
    # The newest as_of's popularity is the default one; a category only the refit rows know gets an output.
    seen_late = train.labels.toarray()
    early = seen_late.copy()
    early[:, 11] = 0
    dense = train.features.toarray()
    dense[:, [11, 23]] = 0
    without = dataclasses.replace(train, labels=csr_matrix(early), features=csr_matrix(dense))
    assert "CATEGORY 11" not in fit(without, validation, None, **arguments).model.encoder.categories
    refitted = fit(without, validation, examples(300, 2, 3), **arguments)
    assert "CATEGORY 11" in refitted.model.encoder.categories
    refit_history = [entry for entry in refitted.history if entry["stage"] == "refit"]
    assert len(refit_history) == refitted.best_epoch
    assert all(entry["validation"] is None for entry in refit_history)
    again = fit(train, validation, train, **arguments)
    np.testing.assert_array_equal(again.model.calibration.slope, first.model.calibration.slope)
    if again.best_epoch == QUICK.epochs:  # then the refit on the same rows is the same net
        for name, value in first.model.nets[0].items():
            assert value.tobytes() == again.model.nets[0][name].tobytes()
    np.testing.assert_array_equal(
        refitted.model.popularity_default,
        examples(300, 2, 3).popularity[1, refitted.model.encoder.category_index],
    )
    assert refitted.model.unseen_category_prior == pytest.approx(0.5 / 301)


def test_progress_hears_of_every_epoch():
    heard = []
    train, validation = examples(500, 2, 1), examples(100, 1, 2)
    fit(
        train,
        validation,
        validation,
        dictionary=dictionary(),
        categories=CATEGORIES,
        settings=QUICK.model_copy(update={"epochs": 1}),
        progress=lambda *told: heard.append(told),
    )
    assert [(epoch, batch, n, losses.stage) for epoch, batch, n, losses in heard] == [
        (1, 25, 32, "fit"),
        (1, 32, 32, "fit"),
        (1, 4, 4, "refit"),
    ]
    assert [losses.validation is None for _, _, _, losses in heard] == [True, False, True]
    assert all(0 < losses.train < 2 for _, _, _, losses in heard)


def test_the_metric_is_the_mean_over_all_pairs():
    rng = np.random.default_rng(0)
    margins = rng.normal(size=(7, 2, 5)).astype(np.float32)
    labels = rng.integers(0, 3, (7, 5)).astype(np.int8)
    expected = []
    for i in range(7):
        for j in range(5):
            odds = [1.0, *np.exp(margins[i, :, j].astype(float))]
            expected.append(-np.log(odds[labels[i, j]] / sum(odds)))
    assert multilabel_log_loss(margins, labels) == pytest.approx(np.mean(expected), rel=1e-5)


def test_the_frameworks_own_file_holds_the_weights(tmp_path):
    path = tmp_path / "mxnet-0000.params"
    path.write_bytes(fitted().exports["mxnet-0000.params"])
    loaded = mx.nd.load(str(path))
    assert set(loaded) == set(fitted().model.nets[0])
    for name, value in fitted().model.nets[0].items():
        np.testing.assert_array_equal(loaded[name].asnumpy(), value)


def test_rows_without_any_history_can_be_trained_on():
    """No category-aligned signal and no column at all: only the prior is left to learn from."""
    some = examples(60, 1, 1)
    bare = dataclasses.replace(some, features=csr_matrix(some.features.shape, dtype=np.float32))
    model = fit(bare, bare, bare, dictionary=dictionary(), categories=CATEGORIES, settings=QUICK).model
    scores = Scorer(model).score_examples(bare)
    assert scores.mean() == pytest.approx((some.labels.toarray() > 0).mean(), abs=0.05)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": None}, "The training set has no positive label"),
        ({"labels": csr_matrix((20, 12), dtype=np.int8)}, "The training set has no positive label"),
        ({"labels": csr_matrix(np.full((20, 12), 2, np.int8))}, "labels from 2 to 2, but 2 classes"),
        ({"customer_id": np.array([], object)}, "The training set has no rows"),
    ],
)
def test_unusable_sets_are_refused(changed, message):
    some = examples(20, 1, 1)
    with pytest.raises(TrainingError, match=message):
        fit(
            dataclasses.replace(some, **changed),
            some,
            None,
            dictionary=dictionary(),
            categories=CATEGORIES,
            settings=QUICK,
        )


def test_an_unknown_network_lists_the_known_ones():
    with pytest.raises(TrainingError, match=r"No network 'deep'\. Known: category_aligned, feed_forward"):
        fit_quickly(network="deep")


def test_a_loss_that_explodes_is_named():
    with pytest.raises(TrainingError, match=r"Lower training\.learning_rate"):
        fit_quickly(learning_rate=1e30)


def test_calibration_of_a_large_window_uses_some_rows_only(monkeypatch):
    monkeypatch.setattr(calibration, "CALIBRATION_PAIRS", 4000)
    thinned = planted.fit_quickly(epochs=1)
    assert thinned.validation_loss < 0.6


def test_rows_on_disk_give_the_same_bits_where_they_fit(tmp_path):
    train, validation = examples(200, 3, 1), examples(100, 1, 2)
    arguments = {"dictionary": dictionary(), "categories": CATEGORIES}
    settings = QUICK.model_copy(update={"epochs": 2})
    one = fit(train, validation, train, settings=settings, **arguments)
    two = fit(train, validation, train, settings=settings, **arguments, scratch=tmp_path)
    assert one.history == two.history
    assert one.exports == two.exports
    assert one.validation_loss == two.validation_loss
    assert not list(tmp_path.iterdir())


def test_few_row_groups_at_a_time_learn_as_well_as_all_rows(tmp_path, monkeypatch):
    """In windows of a sixth of the rows, which chunks of 100 rows of one as_of each are brought to."""
    monkeypatch.setattr(encoded_files, "GROUP_ROWS", 20)
    monkeypatch.setattr(stored_examples, "CHUNK_ROWS", 100)
    train, validation = examples(500, 2, 1), examples(500, 2, 2)
    stored = store_examples(train, tmp_path / "stored")
    windows = []
    shuffled = EncodedFiles.shuffled

    def in_windows(self, rng):
        small = replace(self, window_bytes=self.n_bytes // 6)
        windows.append(small)
        return shuffled(small, rng)

    monkeypatch.setattr(EncodedFiles, "shuffled", in_windows)
    found = fit(
        stored, validation, None, dictionary=dictionary(), categories=CATEGORIES, settings=QUICK, scratch=tmp_path
    )
    assert len(windows) == len(found.history)
    assert found.history != fitted().history
    assert found.validation_loss < fitted().validation_loss * 1.01


def test_a_training_that_fails_leaves_no_rows_and_no_thread(tmp_path):
    train = examples(200, 2, 1)
    settings = QUICK.model_copy(update={"learning_rate": 1e30, "batch_size": 4})  # it fails within the epoch
    with pytest.raises(TrainingError, match="no longer finite"):
        fit(train, train, None, dictionary=dictionary(), categories=CATEGORIES, settings=settings, scratch=tmp_path)
    assert not list(tmp_path.iterdir())
    assert not [thread.name for thread in threading.enumerate() if thread.name == "prefetch"]
