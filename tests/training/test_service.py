"""Training as a service: what a kill leaves, and what the next call makes of it."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

from propensity.api import Platform
from propensity.errors import TrainingError, UnknownModelError
from propensity.models.artifact import read_artifact
from propensity.training import service
from propensity.training.cutoffs import training_cutoffs
from propensity.training.planned_training import data_fingerprint, version_of
from propensity.training.warm_start import models_to_start_from
from tests import shop


class Killed(BaseException):
    pass


def killed_in(wanted):
    def progress(step, done, total):
        if step.startswith(wanted) and done == total:
            raise Killed

    return progress


def files_of(directory):
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.timeout(600)
def test_a_killed_training_goes_on_to_the_same_artifact(home):
    platform = Platform(shop.settings_of(home))
    settings, as_of = platform.settings, platform.as_of(shop.MUCH_LATER)
    cutoffs = training_cutoffs(settings, as_of).refit
    platform.build_features(cutoffs)
    platform.build_labels(cutoffs)
    checkpoints = settings.home / "checkpoints" / settings.region

    with pytest.raises(Killed):
        service.train(settings, as_of, killed_in("training, refit"))
    assert {path.name for path in checkpoints.rglob("*.npz")} == {"fit-0.npz", "refit-0.npz"}
    # Another training's are of no use to this one.
    other = checkpoints / "20200101-0-0"
    other.mkdir()
    heard = []
    result = service.train(settings, as_of, lambda step, done, total: heard.append((step, done, total)))
    assert {step for step, *_ in heard if step.startswith("training")} == {"training, refit"}
    assert not checkpoints.exists()

    undisturbed = files_of(result.model.artifact)
    shutil.rmtree(result.model.artifact)
    again = service.train(settings, as_of)
    assert not again.already_trained
    assert files_of(again.model.artifact) == undisturbed
    assert not checkpoints.exists()


@pytest.mark.timeout(600)
def test_a_training_starts_from_a_previous_model(home):
    platform = Platform(shop.settings_of(home))
    settings, as_of = platform.settings, platform.as_of(shop.MUCH_LATER)
    cutoffs = training_cutoffs(settings, as_of)
    platform.build_features(cutoffs.refit)
    platform.build_labels(cutoffs.refit)
    (champion,) = platform.models()
    warm = service.train(settings, as_of, from_model=champion.model_version).model
    metadata = read_artifact(warm.artifact).metadata
    assert warm.model_version != version_of(settings, cutoffs, data_fingerprint(settings, cutoffs))
    assert metadata.previous_model == champion.model_version
    assert (metadata.settings["epochs"], metadata.settings["learning_rate"]) == (
        settings.training.warm_epochs, settings.training.warm_learning_rate,
    )  # fmt: skip
    assert max(entry["epoch"] for entry in metadata.history) <= settings.training.warm_epochs
    # It begins where the champion ended, not at popularity.
    cold = read_artifact(champion.artifact).metadata.history
    assert metadata.history[0]["train"] < cold[0]["train"]

    # Known labels decide: a model that has seen the validation window, or later ones, is no start.
    with pytest.raises(TrainingError, match=r"after the validation as_of 2024-07-02 .* Start from an older one"):
        service.train(settings, platform.as_of(shop.AS_OF), from_model=warm.model_version)
    with pytest.raises(UnknownModelError, match="Unknown model 'nobody'"):
        service.train(settings, as_of, from_model="nobody")
    # Four weeks on only the net in `validated/` hasn't seen the new validation window.
    first, second = models_to_start_from(
        read_artifact(champion.artifact), dataclasses.replace(cutoffs, validation=platform.as_of("2024-07-20"))
    )
    kept = read_artifact(champion.artifact)
    assert kept.validated is not None
    for name, value in kept.validated.nets[0].items():
        np.testing.assert_array_equal(first.nets[0][name], value)
        np.testing.assert_array_equal(second.nets[0][name], kept.model.nets[0][name])
