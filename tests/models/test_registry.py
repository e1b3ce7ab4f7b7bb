from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from propensity.errors import UnknownModelError
from propensity.models.registry import add_metrics, find_model, list_models, model_for, register_model
from propensity.settings import load_settings
from propensity.warehouse.catalogue import ModelVersion
from propensity.warehouse.catalogue_session import catalogue_session
from propensity.warehouse.migration import migrate


@pytest.fixture
def settings(tmp_path):
    settings = load_settings(home=tmp_path / "home")
    migrate(settings)
    return settings


def day(number: int) -> datetime:
    return datetime(2024, 1, number, tzinfo=UTC)


def register(settings, version, trained_as_of, categories=(0, 1, 2)):
    """Register an artifact of which the registry sees only this much."""
    metadata = SimpleNamespace(
        model_version=version,
        metrics={"validation": {"log_loss": 0.5}},
        categories=[SimpleNamespace(category_index=index) for index in categories],
    )
    artifact = SimpleNamespace(metadata=metadata, directory=settings.models / settings.region / version)
    return register_model(settings, artifact, trained_as_of)


def states(settings):
    return {model.model_version: model.state for model in list_models(settings)}


def test_the_newest_training_is_the_champion(settings):
    register(settings, "b", day(10))
    assert states(settings) == {"b": "champion"}
    register(settings, "c", day(20))
    assert states(settings) == {"b": "retired", "c": "champion"}
    # One that was trained as of an earlier instant, later: not the champion.
    register(settings, "a", day(1))
    assert states(settings) == {"a": "retired", "b": "retired", "c": "champion"}
    assert [model.model_version for model in list_models(settings)] == ["a", "b", "c"]
    # The same instant with other settings: the later one.
    register(settings, "d", day(20))
    assert states(settings) == {"a": "retired", "b": "retired", "c": "retired", "d": "champion"}


def test_what_is_registered_comes_back(settings):
    registered = register(settings, "a", day(10))
    (found,) = list_models(settings)
    assert found == registered
    assert found.artifact == settings.models / "us" / "a"
    assert found.trained_as_of == day(10)
    assert found.metrics == {"validation": {"log_loss": 0.5}}
    assert find_model(settings) == find_model(settings, "a") == found


def test_registering_again_changes_only_its_time(settings):
    first = register(settings, "a", day(10))
    second = register(settings, "a", day(10), categories=(2, 0))
    assert (second.state, second.trained_as_of) == (first.state, first.trained_as_of)
    with catalogue_session(settings) as session:
        raw = session.connection().connection.driver_connection
        rows = raw.execute("SELECT position, category_index FROM model_categories ORDER BY 1").fetchall()
    assert rows == [(0, 2), (1, 0)]


def test_no_model_scores_what_lies_before_its_training(settings):
    register(settings, "a", day(10))
    register(settings, "b", day(20))
    with pytest.raises(UnknownModelError, match=r"No model of region 'us' was trained by .* propensity train --as-of"):
        model_for(settings, day(9))
    assert model_for(settings, day(10)).model_version == "a"
    assert model_for(settings, day(19)).model_version == "a"
    assert model_for(settings, day(20)).model_version == "b"
    assert model_for(settings, day(31)).model_version == "b"


def test_a_refused_model_scores_only_by_name(settings):
    register(settings, "a", day(10))
    register(settings, "b", day(20))
    with catalogue_session(settings) as session:
        session.get(ModelVersion, ("us", "b")).state = "refused"
    assert model_for(settings, day(25)).model_version == "a"
    assert find_model(settings, "b").state == "refused"
    with pytest.raises(UnknownModelError, match="has no champion model"):
        find_model(settings)


def test_regions_have_their_own_champion(settings):
    uk = settings.model_copy(update={"region": "uk"})
    register(settings, "a", day(10))
    register(uk, "a", day(20))
    register(uk, "b", day(25))
    assert states(settings) == {"a": "champion"}
    assert states(uk) == {"a": "retired", "b": "champion"}


def test_an_unknown_model_is_named_with_the_closest(settings):
    with pytest.raises(UnknownModelError, match=r"has no champion model\. Train one: propensity train --as-of DATE"):
        find_model(settings)
    register(settings, "20240801-0cf8b6ed", day(10))
    with pytest.raises(UnknownModelError, match="Did you mean '20240801-0cf8b6ed'"):
        find_model(settings, "20240801-0cf8b6ee")


def test_metrics_are_added_by_name(settings):
    register(settings, "a", day(10))
    add_metrics(settings, "a", "2024-02-01", {"log_loss": 0.25})
    add_metrics(settings, "a", "2024-02-01", {"log_loss": 0.2})
    assert find_model(settings).metrics == {"validation": {"log_loss": 0.5}, "2024-02-01": {"log_loss": 0.2}}
    with pytest.raises(UnknownModelError, match="Unknown model 'b'"):
        add_metrics(settings, "b", "x", {})
