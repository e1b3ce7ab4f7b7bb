"""From training to decision, on the small shop: who wins, who is refused, and what the numbers are."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading

import numpy as np
import pytest

from propensity.api import Platform
from propensity.errors import ArtifactError, GateError, UnknownModelError
from propensity.evaluation.judging import window_figures
from propensity.evaluation.unseen_nets import unseen_net
from propensity.models.artifact import read_artifact
from propensity.models.gate import rule_on
from propensity.training import service
from propensity.training.cutoffs import training_cutoffs
from propensity.training.stored_examples import store_examples
from propensity.training.training_set import training_set
from tests import shop

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def platform(home) -> Platform:
    return Platform(shop.settings_of(home))


def build(platform: Platform, as_of: str) -> None:
    cutoffs = training_cutoffs(platform.settings, platform.as_of(as_of)).refit
    platform.build_features([*cutoffs, as_of])
    platform.build_labels(cutoffs)


def with_seed(platform: Platform, seed: int) -> Platform:
    """The same home, with settings that train another net: on a shop this small chance decides which is better."""
    training = platform.settings.training.model_copy(update={"seed": seed})
    return Platform(platform.settings.model_copy(update={"training": training}))


@pytest.fixture
def shuffled_labels(monkeypatch):
    """Let every training learn from labels that belong to other customers."""
    original = service.stored_training_set

    def shuffled(settings, as_ofs, directory):
        built = original(settings, as_ofs, directory)
        examples = training_set(settings, as_ofs).examples
        order = np.random.default_rng(3).permutation(len(examples))
        labels = examples.labels[order][:, np.random.default_rng(4).permutation(examples.n_categories)]
        again = store_examples(dataclasses.replace(examples, labels=labels), directory / "shuffled")
        return dataclasses.replace(built, examples=again)

    monkeypatch.setattr(service, "stored_training_set", shuffled)
    return monkeypatch


class Told:
    """An observer that keeps the lines."""

    def __init__(self) -> None:
        self.lines: dict[str, str] = {}

    def progress(self, step: str, done: int, total: int) -> None:
        assert 0 <= done <= total

    def finished(self, stage: str, what: str, seconds: float) -> None:
        self.lines[stage] = what


def test_the_numbers_stored_are_those_recomputed(finished_home):
    platform = Platform(shop.settings_of(finished_home))
    (model,), (decision,) = platform.models(), platform.decisions()
    assert (model.state, decision.verdict, decision.model_version) == ("champion", "promoted", model.model_version)
    artifact = read_artifact(model.artifact)
    figures = window_figures(platform.settings, artifact, None)
    ruling = rule_on(figures, platform.settings.gate)
    assert decision.window_as_of == artifact.metadata.validation_as_of == platform.as_of("2024-07-02")
    assert decision.figures["window"] == json.loads(json.dumps(figures.to_json()))
    assert decision.figures["checks"] == [dataclasses.asdict(check) for check in ruling.checks]
    assert decision.reason == ruling.reason
    assert figures.customers == shop.CUSTOMERS
    bought = {
        (row["customer_id"], row["category"])
        for row in shop.event_rows()
        if row["event_type"] == "purchase" and row["quantity"] and "2024-07-02T04" <= row["event_timestamp"].isoformat()
        < "2024-08-01T04"
    }  # fmt: skip
    assert figures.positives == len(bought)


def test_the_net_that_is_judged_has_not_seen_the_window(finished_home):
    """Its label windows ended before the window began; the kept net's did not, so it may not stand in."""
    (model,) = Platform(shop.settings_of(finished_home)).models()
    artifact = read_artifact(model.artifact)
    window = artifact.metadata.validation_as_of
    first = artifact.validated_artifact
    assert first.metadata.training_window[1] <= window < artifact.metadata.training_window[1]
    assert set(first.metadata.training_as_ofs) < set(artifact.metadata.training_as_ofs)
    assert unseen_net(artifact, window).net == "validated"
    assert unseen_net(artifact, artifact.metadata.training_window[1]).net == "kept"
    assert unseen_net(artifact, min(first.metadata.training_as_ofs)) is None


def test_a_challenger_that_learnt_nonsense_is_refused_and_the_champion_goes_on(platform, shuffled_labels):
    (champion,) = platform.models()
    told = Told()
    result = platform.run(shop.MUCH_LATER, told)
    (decision,) = result.decisions
    assert decision.verdict == "refused"
    assert result.training.model.state == "refused"
    assert result.scoring.model == champion
    assert told.lines["gate"].endswith(f"champion {champion.model_version} goes on scoring")
    assert "\n" not in told.lines["gate"]
    failed = {check["rule"] for check in decision.figures["checks"] if not check["passed"]}
    # The shop is so simple that cross-fitting mends even this net; but the calibration it carries is as bad as it is.
    assert "carried_calibration_fits" in failed
    assert decision.figures["window"]["champion"]["net"] == "kept"
    assert platform.audience("WINE", 1)["model_version"].tolist() == [champion.model_version]

    # The same run again judges nothing anew and changes nothing.
    again = platform.run(shop.MUCH_LATER)
    assert (again.decisions, again.scoring.model, again.scoring.already_published) == ((), champion, True)
    # By name a refused model scores.
    refused = decision.model_version
    assert platform.score(shop.MUCH_LATER, refused).model.model_version == refused

    # A good challenger on the same data wins.
    shuffled_labels.undo()
    better = with_seed(platform, 9)
    won = better.run(shop.MUCH_LATER)
    assert won.decisions[0].verdict == "promoted", won.decisions[0].reason
    assert won.decisions[0].previous_champion == champion.model_version
    assert won.scoring.model.model_version == won.training.model.model_version
    assert {model.state for model in better.models()} == {"retired", "refused", "champion"}

    # Side by side: on the window of its validation neither had seen what it is asked.
    compared = better.compare(won.training.model.model_version, refused)
    assert compared.window_as_of == decision.window_as_of
    assert (compared.nets, compared.cross_fitted) == (("validated", "validated"), True)
    first, second = compared.qualities
    assert compared.gains["log_loss"].mean == pytest.approx(first.log_loss - second.log_loss)
    assert compared.qualities[0].log_loss == won.decisions[0].figures["window"]["challenger"]["log_loss"]
    with pytest.raises(GateError, match=r"has seen the window from 2024-05-03.*Choose a later --as-of"):
        better.compare(won.training.model.model_version, refused, "2024-05-03")

    better.rollback("only a drill")
    assert better.run(shop.MUCH_LATER).scoring.model.model_version == champion.model_version


def test_a_first_model_that_is_refused_leaves_nobody_to_score(new_home):
    settings = shop.settings_of(new_home)
    strict = Platform(settings.model_copy(update={"gate": settings.gate.model_copy(update={"min_customers": 81})}))
    with pytest.raises(UnknownModelError, match=r"has no champion by .* was refused\. Why: propensity models show"):
        strict.run(shop.AS_OF)
    (decision,) = strict.decisions()
    assert decision.reason == "customers in the window 80 is below gate.min_customers 81"
    (version,) = (model.model_version for model in strict.models())
    strict.promote(version, force=True, reason="a small shop")
    assert strict.run(shop.AS_OF).scoring.model.model_version == version


def test_killed_between_registration_and_decision(platform):
    """What such a kill leaves is what training alone leaves: a challenger, which scores nothing until it's judged."""
    (champion,) = platform.models()
    platform = with_seed(platform, 9)
    build(platform, shop.SOON_AFTER)
    left = service.train(platform.settings, platform.as_of(shop.SOON_AFTER)).model
    assert left.state == "challenger"
    assert platform.score(shop.SOON_AFTER).model == champion
    result = platform.run(shop.SOON_AFTER)  # no training is due
    assert result.training is None
    assert [decision.model_version for decision in result.decisions] == [left.model_version]
    assert result.scoring.model.model_version == left.model_version
    # A week on, the champion's kept net has seen the window and so has its validated one: no comparison, and it's said.
    window = result.decisions[0].figures["window"]
    assert window["champion"]["net"] == "validated" or window["champion"]["not_compared"]


def test_two_trainings_at_once_are_one(platform):
    build(platform, shop.SOON_AFTER)
    abandoned = platform.settings.models / "us" / f".20240801-00000000.{'0' * 32}"
    abandoned.mkdir()
    results: list[service.TrainingResult] = []
    patient = Platform(platform.settings.model_copy(update={"lock_timeout_seconds": 300}))
    both = [threading.Thread(target=lambda: results.append(patient.train(shop.SOON_AFTER))) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert [result.already_trained for result in results] == [False, True]
    assert results[0].model == results[1].model
    assert len(platform.decisions(results[0].model.model_version)) == 1
    assert not abandoned.exists()


def test_a_lost_artifact_is_made_again(platform):
    (model,) = platform.models()
    before = read_artifact(model.artifact).sha256
    shutil.rmtree(model.artifact)
    result = platform.run(shop.AS_OF)
    assert not result.training.already_trained
    assert result.decisions == ()
    assert read_artifact(model.artifact).sha256 == before
    assert result.scoring.model.state == "champion"
    assert len(platform.decisions()) == 1


def test_a_damaged_artifact_says_what_to_remove(platform):
    (model,) = platform.models()
    (model.artifact / "weights.safetensors").write_bytes(b"")
    for attempt in (platform.run, platform.train, platform.score):
        with pytest.raises(ArtifactError, match=rf"is damaged.*remove {model.artifact} and train again"):
            attempt(shop.AS_OF)


def test_a_challenger_without_a_champion_to_compare_with_says_so(platform):
    (champion,) = platform.models()
    build(platform, shop.SOON_AFTER)
    challenger = service.train(platform.settings, platform.as_of(shop.SOON_AFTER)).model
    artifact = read_artifact(challenger.artifact)
    shutil.rmtree(champion.artifact)
    figures = window_figures(platform.settings, artifact, champion)
    assert figures.champion.not_compared == "its artifact is lost"
    ruling = rule_on(figures, platform.settings.gate)
    assert ruling.passed
    assert f"not compared with champion {champion.model_version}: its artifact is lost" in ruling.reason
