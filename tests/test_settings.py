from __future__ import annotations

from pathlib import Path

import pytest

from propensity.errors import SettingsError
from propensity.settings import Settings, TrainingSettings, load_settings, project_root
from tests.shop import ROOT


@pytest.fixture(autouse=True)
def project(monkeypatch, tmp_path):
    """An empty project root, so that a developer's propensity.toml plays no part."""
    monkeypatch.setenv("PROPENSITY_PROJECT", str(tmp_path))
    return tmp_path


def test_defaults_need_nothing(project):
    settings = load_settings()
    assert settings.home == project / ".propensity"
    assert settings.region == "us"
    assert settings.training == TrainingSettings()
    assert settings.labels.n_classes == 2


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(monkeypatch, project):
    assert load_settings().top_k == 20
    (project / "propensity.toml").write_text("top_k = 7\nthreads = 3\n[training]\nepochs = 9\nseed = 1\n")
    assert load_settings().top_k == 7
    monkeypatch.setenv("PROPENSITY_TOP_K", "8")
    monkeypatch.setenv("PROPENSITY_TRAINING__SEED", "2")
    assert load_settings().top_k == 8
    assert load_settings(top_k=9).top_k == 9
    assert load_settings(top_k=None).top_k == 8
    settings = load_settings()
    # A nested table is merged option by option.
    assert (settings.threads, settings.training.epochs, settings.training.seed) == (3, 9, 2)
    assert settings.training.batch_size == TrainingSettings().batch_size


def test_the_file_can_lie_elsewhere(monkeypatch, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text("region = 'uk'\ntimezone = 'Europe/London'\n")
    monkeypatch.setenv("PROPENSITY_CONFIG", str(other))
    assert load_settings().region == "uk"
    other.unlink()
    with pytest.raises(SettingsError, match=r"PROPENSITY_CONFIG names '.*other\.toml', which is not a file"):
        load_settings()


@pytest.mark.parametrize(
    ("flags", "option"),
    [
        ({"region": "US East"}, "region"),
        ({"timezone": "Nowhere"}, "timezone"),
        ({"top_k": 0}, "top_k"),
        ({"threads": 0}, "threads"),
        ({"max_bad_row_share": 1.5}, "max_bad_row_share"),
        ({"max_bad_row_share": float("nan")}, "max_bad_row_share"),
        ({"labels": {"horizon_days": 0}}, r"labels\.horizon_days"),
        ({"labels": {"event_types": ()}}, r"labels\.event_types"),
        ({"labels": {"event_types": ("view", "view")}}, r"labels\.event_types"),
        ({"training": {"dropout": 1}}, r"training\.dropout"),
        ({"training": {"learning_rate": 0}}, r"training\.learning_rate"),
        ({"training": {"cutoffs": 1}}, r"training\.cutoffs"),
        ({"scoring": {"output": "some"}}, r"scoring\.output"),
        ({"scoring": {"threshold": 0}}, r"scoring\.threshold"),
        ({"training": {"epoch": 1}}, r"training\.epoch"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_an_error_names_the_option(flags, option):
    with pytest.raises(SettingsError, match=rf"^Setting '{option}': [^\n]+ See: propensity config$"):
        load_settings(**flags)


def test_errors_of_environment_and_file_name_the_option_too(monkeypatch, project):
    monkeypatch.setenv("PROPENSITY_TRAINING__EPOCHS", "abc")
    with pytest.raises(SettingsError, match=r"^Setting 'training\.epochs': "):
        load_settings()
    monkeypatch.delenv("PROPENSITY_TRAINING__EPOCHS")
    (project / "propensity.toml").write_text("epochs = 3")
    with pytest.raises(SettingsError, match=r"^Setting 'epochs': "):
        load_settings()
    (project / "propensity.toml").write_text("epochs = ")
    with pytest.raises(SettingsError, match=r"propensity\.toml: not valid TOML"):
        load_settings()


def test_a_list_that_is_no_json_is_named(monkeypatch, project):
    monkeypatch.setenv("PROPENSITY_TRAINING__HIDDEN", "[64,")
    with pytest.raises(SettingsError, match=r'field "training".*A list is written as JSON'):
        load_settings()


def test_settings_dont_change():
    with pytest.raises(ValueError, match="frozen"):
        load_settings().top_k = 3  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        load_settings().training.epochs = 3  # type: ignore[misc]


def test_every_option_says_what_it_means():
    for model in (Settings, *(field.annotation for field in Settings.model_fields.values())):
        for name, field in getattr(model, "model_fields", {}).items():
            if not hasattr(field.annotation, "model_fields"):
                assert field.description, name
                assert field.description.endswith("."), name


def test_paths_follow_the_home(monkeypatch, tmp_path):
    settings = load_settings(home=tmp_path / "elsewhere")
    assert all(
        path.is_relative_to(tmp_path / "elsewhere") for path in (settings.lake, settings.warehouse, settings.models)
    )
    monkeypatch.chdir(tmp_path)
    assert load_settings(home="here").home == tmp_path / "here"
    assert load_settings(home="~/there").home == Path.home() / "there"


def test_the_project_root_is_the_checkout(monkeypatch):
    monkeypatch.delenv("PROPENSITY_PROJECT")
    assert project_root() == ROOT


def test_regions_have_their_own_feast_project():
    assert load_settings(region="us").feast_project == "propensity_us"
    assert load_settings(region="us-east").feast_project == "propensity_us_east"
