from __future__ import annotations

import shutil

import pytest

from propensity.errors import ArtifactError, GateError, UnknownModelError
from propensity.models.decisions import list_decisions, promote, rollback, settle
from propensity.models.registry import find_model, model_for
from propensity.settings import load_settings
from propensity.warehouse import catalogue
from propensity.warehouse.catalogue_session import catalogue_session
from propensity.warehouse.migration import migrate
from tests.models.registered import FAILED, PASSED, day, judged, register, states


@pytest.fixture
def settings(tmp_path):
    settings = load_settings(home=tmp_path / "home")
    migrate(settings)
    return settings


def verdicts(settings):
    return [(decision.model_version, decision.verdict) for decision in list_decisions(settings)]


def test_a_decision_is_stored_with_what_it_rests_on(settings):
    first = judged(settings, "a", day(10))
    second = judged(settings, "b", day(20), FAILED)
    assert list_decisions(settings) == [first, second]
    assert list_decisions(settings, "b") == [second]
    assert (first.verdict, first.previous_champion, first.reason) == ("promoted", None, "good enough")
    assert (second.verdict, second.previous_champion) == ("refused", "a")
    assert second.figures["gate"] == settings.gate.model_dump(mode="json")
    assert "early stopping" in second.figures["caveat"]
    assert first.decided_timestamp < second.decided_timestamp


def test_state_and_decision_change_together_or_not_at_all(settings, monkeypatch):
    judged(settings, "a", day(10))
    register(settings, "b", day(20))

    def fail(*_: object, **__: object) -> str:
        raise OSError("disk full")

    monkeypatch.setattr("propensity.models.decisions.json.dumps", fail)
    with pytest.raises(OSError, match="disk full"):
        settle(settings, "b", PASSED, None, "a")
    assert states(settings) == {"a": "champion", "b": "challenger"}
    assert verdicts(settings) == [("a", "promoted")]


def test_a_ruling_against_another_champion_is_not_settled(settings):
    judged(settings, "a", day(10))
    register(settings, "b", day(20))
    assert settle(settings, "b", PASSED, None, None) is None
    assert settle(settings, "b", PASSED, None, "c") is None
    assert states(settings) == {"a": "champion", "b": "challenger"}
    decision = settle(settings, "b", PASSED, None, "a")
    assert settle(settings, "b", FAILED, None, "a") == decision
    assert states(settings) == {"a": "retired", "b": "champion"}


def test_a_clock_that_was_set_back_leaves_the_order(settings, monkeypatch):
    judged(settings, "a", day(10))
    with catalogue_session(settings) as session:
        session.execute(catalogue.GateDecision.__table__.update().values(decided_timestamp=day(30).replace(year=2090)))
    assert judged(settings, "b", day(20)).decided_timestamp.year == 2090
    assert [version for version, _ in verdicts(settings)] == ["a", "b"]


def test_promoting_a_retired_model(settings):
    judged(settings, "a", day(10))
    judged(settings, "b", day(20))
    decision = promote(settings, "a", reason="b is odd")
    assert (decision.verdict, decision.previous_champion, decision.reason) == (
        "promoted", "b", "promoted by hand: b is odd",
    )  # fmt: skip
    assert states(settings) == {"a": "champion", "b": "retired"}
    assert model_for(settings, day(25)).model_version == "a"
    with pytest.raises(GateError, match="'a' is the champion already"):
        promote(settings, "a")


@pytest.mark.parametrize("options", [{}, {"force": True}, {"reason": "why"}, {"force": True, "reason": "  "}])
def test_a_refused_model_takes_force_and_a_reason(settings, options):
    judged(settings, "a", day(10))
    judged(settings, "b", day(20), FAILED)
    register(settings, "c", day(25))
    with pytest.raises(GateError, match=r"'b' was refused: micro AUC is low\. .* promote b --force --reason TEXT"):
        promote(settings, "b", **options)
    with pytest.raises(GateError, match="'c' has not been judged"):
        promote(settings, "c", **options)
    assert states(settings) == {"a": "champion", "b": "refused", "c": "challenger"}


def test_a_refused_model_by_force(settings):
    judged(settings, "a", day(10), FAILED)
    assert promote(settings, "a", force=True, reason="no other").verdict == "forced"
    assert find_model(settings).model_version == "a"
    # Its successor retires it like any champion.
    judged(settings, "b", day(20))
    assert states(settings) == {"a": "retired", "b": "champion"}


def test_a_model_that_cant_be_promoted(settings):
    judged(settings, "a", day(10))
    judged(settings, "b", day(20))
    shutil.rmtree(settings.models / "us" / "a")
    with pytest.raises(ArtifactError, match="'a' is lost"):
        promote(settings, "a")
    with pytest.raises(ArtifactError, match="'a' is lost"):
        rollback(settings)
    with pytest.raises(UnknownModelError, match="Unknown model 'c'"):
        promote(settings, "c")
    assert states(settings) == {"a": "retired", "b": "champion"}


def test_rollback_goes_back_champion_by_champion(settings):
    with pytest.raises(UnknownModelError, match="has no champion"):
        rollback(settings)
    for number, version in enumerate("abc", start=1):
        judged(settings, version, day(10 * number))
    judged(settings, "x", day(15))  # shelved: it never was champion
    decision = rollback(settings, "sales complain")
    assert (decision.model_version, decision.verdict, decision.previous_champion) == ("b", "restored", "c")
    assert states(settings) == {"a": "retired", "b": "champion", "c": "refused", "x": "retired"}
    assert model_for(settings, day(31)).model_version == "b"
    assert verdicts(settings)[-2:] == [("c", "withdrawn"), ("b", "restored")]
    assert all("sales complain" in made.reason for made in list_decisions(settings)[-2:])
    assert rollback(settings).model_version == "a"
    with pytest.raises(GateError, match="no earlier champion to go back to than 'a'"):
        rollback(settings)
    assert states(settings) == {"a": "champion", "b": "refused", "c": "refused", "x": "retired"}
    # The next training is judged as ever.
    assert judged(settings, "d", day(31)).previous_champion == "a"
    assert rollback(settings).model_version == "a"


def test_rollback_of_a_promotion_by_hand(settings):
    judged(settings, "a", day(10))
    judged(settings, "b", day(20))
    promote(settings, "a")
    assert rollback(settings).model_version == "b"
    assert states(settings) == {"a": "refused", "b": "champion"}


def test_a_champion_from_before_the_gate_can_be_gone_back_to(settings):
    register(settings, "a", day(10))
    with catalogue_session(settings) as session:
        session.get(catalogue.ModelVersion, ("us", "a")).state = "champion"
    judged(settings, "b", day(20))
    assert rollback(settings).model_version == "a"


def test_regions_decide_apart(settings):
    uk = settings.model_copy(update={"region": "uk"})
    judged(settings, "a", day(10))
    judged(uk, "a", day(10), FAILED)
    assert (states(settings), states(uk)) == ({"a": "champion"}, {"a": "refused"})
    assert [decision.verdict for decision in list_decisions(uk)] == ["refused"]
