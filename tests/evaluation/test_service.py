"""`propensity evaluate` on the small shop: which baselines, what is kept, what the report says."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from propensity.api import Platform
from propensity.baselines import BASELINES, SIMPLE
from propensity.errors import LookupFailedError
from propensity.evaluation import kept_baselines
from propensity.features.labels import count_labels
from tests import shop

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def platform(home: Path) -> Platform:
    platform = Platform(shop.settings_of(home))
    platform.build_labels([shop.AS_OF])
    return platform


def test_the_baselines_asked_for_are_reported_and_kept(platform, monkeypatch) -> None:
    plain = platform.evaluate(shop.AS_OF)
    assert tuple(plain.evaluations) == ("net", *SIMPLE)

    everything = platform.evaluate(shop.AS_OF, baselines="all")
    assert tuple(everything.evaluations) == ("net", *BASELINES)
    assert {name: everything.evaluations[name] for name in plain.evaluations} == plain.evaluations
    assert everything.fit_seconds.keys() == BASELINES.keys()
    popularity = everything.evaluations["global_popularity"].all
    for name in BASELINES:
        if name != "global_popularity":
            assert everything.evaluations[name].all.log_loss < popularity.log_loss
            assert everything.evaluations[name].all.micro_auc > popularity.micro_auc
    assert everything.rival == min(BASELINES, key=lambda name: everything.evaluations[name].all.log_loss)
    text, figures = everything.report.read_text(), json.loads(everything.report.with_suffix(".json").read_text())
    for name in BASELINES:
        assert f"| {name} |" in text
        assert figures["evaluations"][name] == everything.evaluations[name].to_dict()
    assert figures["rival"] == everything.rival

    def fit(*_) -> None:
        raise AssertionError("fitted again")

    for baseline in BASELINES.values():
        monkeypatch.setattr(baseline, "fit", fit)
    # The same again, others of those known, and those alone that take long.
    same = platform.evaluate(shop.AS_OF, baselines="all")
    assert (same.evaluations, same.gain, same.fit_seconds) == (
        everything.evaluations, everything.gain, everything.fit_seconds,
    )  # fmt: skip
    few = platform.evaluate(shop.AS_OF, baselines=["tifu_knn", "personal_frequency"])
    assert tuple(few.evaluations) == ("net", "personal_frequency", "tifu_knn")
    assert few.evaluations["tifu_knn"] == everything.evaluations["tifu_knn"]
    # Edited code is another baseline.
    monkeypatch.setattr(kept_baselines, "_code", lambda: "edited")
    with pytest.raises(AssertionError, match="fitted again"):
        platform.evaluate(shop.AS_OF, baselines="tifu_knn")


def test_a_damaged_prediction_is_made_again(platform) -> None:
    before = platform.evaluate(shop.AS_OF, baselines="tifu_knn")
    (kept,) = before.report.parent.glob("baselines/tifu_knn-*.npz")
    good = kept.read_bytes()
    kept.write_bytes(good[: len(good) // 2])
    before.report.with_suffix(".json").unlink()
    again = platform.evaluate(shop.AS_OF, baselines="tifu_knn")
    assert again.evaluations == before.evaluations
    assert kept.stat().st_size == len(good)


def test_a_prediction_has_a_name_of_what_it_is_made_of(platform) -> None:
    settings, as_of = platform.settings, platform.as_of(shop.AS_OF)
    options = kept_baselines.FitOptions()
    training = [platform.as_of("2024-07-02")]
    name = kept_baselines.inputs_of(settings, training, as_of, options)
    assert name == kept_baselines.inputs_of(settings, training, as_of, dataclasses.replace(options, threads=2))
    assert name != kept_baselines.inputs_of(settings, training, as_of, dataclasses.replace(options, seed=8))
    assert name != kept_baselines.inputs_of(settings, [platform.as_of("2024-06-02")], as_of, options)
    assert name != kept_baselines.inputs_of(settings, training, training[0], options)


def test_labels_are_counted_as_the_training_set_has_them(platform) -> None:
    """Of two classes and of three: in the shop who redeems a coupon and buys no wine is of class 1."""
    as_ofs = ["2024-04-01", "2024-05-01"]
    for labels in ({}, {"labels": {"event_types": ("coupon_redemption", "purchase")}}):
        mine = Platform(shop.settings_of(platform.home, **labels))
        mine.build_features(as_ofs)
        mine.build_labels(as_ofs)
        mine.apply()
        counted = count_labels(mine.settings, [mine.as_of(day) for day in as_ofs])
        found = mine.training_set(as_ofs).examples.labels
        for k, at_least in enumerate(counted.at_least, start=1):
            assert at_least.tolist() == np.asarray((found >= k).sum(axis=0)).ravel().tolist()
        assert counted.rows == found.shape[0]
        assert len(counted.at_least) == mine.settings.labels.n_classes - 1
    assert counted.at_least[0].sum() > counted.at_least[1].sum() > 0


def test_an_unknown_baseline_is_named(platform) -> None:
    with pytest.raises(LookupFailedError, match=r"'tifu' is not a baseline\. Did you mean 'tifu_knn'"):
        platform.evaluate(shop.AS_OF, baselines="tifu")
