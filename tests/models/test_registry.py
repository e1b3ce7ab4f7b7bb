from __future__ import annotations

import pytest

from propensity.errors import UnknownModelError
from propensity.models.registry import add_metrics, find_model, list_models, model_for
from propensity.settings import load_settings
from propensity.warehouse.catalogue_session import catalogue_session
from propensity.warehouse.migration import migrate
from tests.models.registered import FAILED, day, judged, register, states


@pytest.fixture
def settings(tmp_path):
    settings = load_settings(home=tmp_path / "home")
    migrate(settings)
    return settings


def test_a_model_is_registered_as_a_challenger_and_scores_nothing(settings):
    register(settings, "a", day(10))
    assert states(settings) == {"a": "challenger"}
    with pytest.raises(UnknownModelError, match=r"'a' .* has not been judged yet.*propensity run --as-of 2024-01-1"):
        model_for(settings, day(20))
    judged(settings, "b", day(5))
    assert model_for(settings, day(20)).model_version == "b"


def test_the_newest_training_that_passed_is_the_champion(settings):
    judged(settings, "b", day(10))
    assert states(settings) == {"b": "champion"}
    judged(settings, "c", day(20))
    assert states(settings) == {"b": "retired", "c": "champion"}
    # One that was trained as of an earlier instant, later: not the champion.
    assert judged(settings, "a", day(1)).verdict == "shelved"
    assert states(settings) == {"a": "retired", "b": "retired", "c": "champion"}
    assert [model.model_version for model in list_models(settings)] == ["a", "b", "c"]
    # The same instant with other settings: the later one.
    judged(settings, "d", day(20))
    assert states(settings) == {"a": "retired", "b": "retired", "c": "retired", "d": "champion"}


def test_what_is_registered_comes_back(settings):
    registered = register(settings, "a", day(10))
    (found,) = list_models(settings)
    assert found == registered
    judged(settings, "a", day(10))
    (found,) = list_models(settings)
    assert found.artifact == settings.models / "us" / "a"
    assert found.trained_as_of == day(10)
    assert found.metrics == {"validation": {"log_loss": 0.5}}
    assert find_model(settings) == find_model(settings, "a") == found


def test_registering_again_changes_only_its_time(settings):
    judged(settings, "a", day(10))
    first = find_model(settings)
    second = register(settings, "a", day(10), categories=(2, 0))
    assert (second.state, second.trained_as_of) == (first.state, first.trained_as_of)
    with catalogue_session(settings) as session:
        raw = session.connection().connection.driver_connection
        rows = raw.execute("SELECT position, category_index FROM model_categories ORDER BY 1").fetchall()
    assert rows == [(0, 2), (1, 0)]


def test_no_model_scores_what_lies_before_its_training(settings):
    judged(settings, "a", day(10))
    judged(settings, "b", day(20))
    with pytest.raises(UnknownModelError, match=r"No model of region 'us' was trained by .* propensity train --as-of"):
        model_for(settings, day(9))
    assert model_for(settings, day(10)).model_version == "a"
    assert model_for(settings, day(19)).model_version == "a"
    assert model_for(settings, day(20)).model_version == "b"
    assert model_for(settings, day(31)).model_version == "b"


def test_a_refused_model_scores_only_by_name(settings):
    judged(settings, "a", day(10))
    judged(settings, "b", day(20), FAILED)
    assert states(settings) == {"a": "champion", "b": "refused"}
    assert model_for(settings, day(25)).model_version == "a"
    assert find_model(settings, "b").state == "refused"
    assert find_model(settings).model_version == "a"


def test_only_a_refused_model_is_an_error_that_says_what_next(settings):
    judged(settings, "a", day(10), FAILED)
    with pytest.raises(
        UnknownModelError, match=r"'a' was refused\. Why: propensity models show a\. .* --force --reason"
    ):
        model_for(settings, day(25))
    with pytest.raises(UnknownModelError, match="has no champion model"):
        find_model(settings)


def test_regions_have_their_own_champion(settings):
    uk = settings.model_copy(update={"region": "uk"})
    judged(settings, "a", day(10))
    judged(uk, "a", day(20))
    judged(uk, "b", day(25))
    assert states(settings) == {"a": "champion"}
    assert states(uk) == {"a": "retired", "b": "champion"}


def test_an_unknown_model_is_named_with_the_closest(settings):
    with pytest.raises(UnknownModelError, match=r"has no champion model\. Train one: propensity train --as-of DATE"):
        find_model(settings)
    register(settings, "20240801-0cf8b6ed", day(10))
    with pytest.raises(UnknownModelError, match="Did you mean '20240801-0cf8b6ed'"):
        find_model(settings, "20240801-0cf8b6ee")


def test_metrics_are_added_by_name(settings):
    judged(settings, "a", day(10))
    add_metrics(settings, "a", "2024-02-01", {"log_loss": 0.25})
    add_metrics(settings, "a", "2024-02-01", {"log_loss": 0.2})
    assert find_model(settings).metrics == {"validation": {"log_loss": 0.5}, "2024-02-01": {"log_loss": 0.2}}
    with pytest.raises(UnknownModelError, match="Unknown model 'b'"):
        add_metrics(settings, "b", "x", {})
