from __future__ import annotations

import math
import shutil
import sys
import tomllib
from itertools import pairwise

import pytest
from typer.testing import CliRunner

from propensity.api import Platform
from propensity.cli import app
from propensity.errors import RuntimeMissingError, SettingsError, TrainingError, WarehouseError
from propensity.experiments.tuning_toml import tuning_toml
from propensity.experiments.validation_windows import ValidationWindow, validation_cutoffs
from propensity.features.labels import label_window_end
from propensity.settings import TrainingSettings, load_settings
from tests import shop

FIRST, SECOND = "2024-07-02", "2024-06-02"
"""The two validation windows before AS_OF, newest first."""


@pytest.fixture(autouse=True)
def _applied(monkeypatch):
    """The copied Feast registry holds no path: to apply it again takes seconds and changes nothing."""
    monkeypatch.setattr("propensity.experiments.ingredients.apply_repository", lambda settings: False)


@pytest.fixture(scope="module")
def platform(backtested_home, tmp_path_factory) -> Platform:
    home = shutil.copytree(backtested_home, tmp_path_factory.mktemp("tuned") / "home")
    return Platform(shop.settings_of(home))


class Bowl(list):
    """What was trained, (window, settings), where training is a bowl whose bottom is known.

    Attributes:
        stop_at: The training that never ends well, as if the process were killed in it; counted from 1.
    """

    stop_at = 0

    def loss(self, as_of, training):
        self.append((as_of, training))
        if len(self) == self.stop_at:
            raise KeyboardInterrupt
        if training.learning_rate > 5e-3:
            raise TrainingError("The training loss is no longer finite.")
        return self.depth(training) + 0.01 * (as_of.month == 7)

    @staticmethod
    def depth(training):
        return 0.2 + math.log(training.learning_rate / 1e-3) ** 2 / 10 + (training.dropout - 0.4) ** 2


@pytest.fixture
def bowl(monkeypatch, platform):
    """Replaces training by a bowl, in a home without a study."""
    trained = Bowl()

    class Window:
        def __init__(self, as_of):
            self.as_of = as_of

        def loss(self, training, progress):
            return trained.loss(self.as_of, training)

    monkeypatch.setattr(ValidationWindow, "read", lambda settings, cutoffs: Window(cutoffs.trained_as_of))
    shutil.rmtree(platform.home / "tuning", ignore_errors=True)
    return trained


# Honest ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "windows"), [(shop.AS_OF, 2), (shop.AS_OF, 3), ("2024-09-05", 3), ("2024-07-17T18:30", 2)]
)
def test_no_label_that_ends_after_the_as_of_is_used(platform, day, windows):
    as_of = platform.as_of(day)
    plans = validation_cutoffs(platform.settings, as_of, windows)
    assert len(plans) == windows
    assert label_window_end(platform.settings, plans[0].trained_as_of) <= as_of
    for plan in plans:
        # Not even a window's own training sees it.
        assert all(label_window_end(platform.settings, cutoff) <= plan.trained_as_of for cutoff in plan.refit)
    for newer, older in pairwise(plans):
        assert label_window_end(platform.settings, older.trained_as_of) <= newer.trained_as_of


def test_a_window_that_would_begin_in_a_skipped_hour_ends_in_time(platform):
    """On 2024-03-10 New York's clocks skip 2:30; 15 days after what stands for it are an hour too late."""
    as_of = platform.as_of("2024-03-25T02:30")
    settings = platform.settings.model_copy(
        update={
            "labels": platform.settings.labels.model_copy(update={"horizon_days": 15}),
            "training": platform.settings.training.model_copy(update={"cutoff_every_days": 15}),
        }
    )
    newest, older = validation_cutoffs(settings, as_of, 2)
    assert newest.trained_as_of == platform.as_of("2024-03-09T02:30")
    assert label_window_end(settings, newest.trained_as_of) <= as_of
    assert label_window_end(settings, older.trained_as_of) <= newest.trained_as_of


def test_one_window_is_not_enough(platform):
    with pytest.raises(SettingsError, match="2 validation windows or more, not 1"):
        platform.tune(shop.AS_OF, windows=1)


def test_a_windows_loss_is_that_of_the_model_trained_as_of_it(platform, backtested_home):
    """The backtest trained the same settings as of the newest window, and measured them there."""
    settings = platform.settings
    (plan, _) = validation_cutoffs(settings, platform.as_of(shop.AS_OF), 2)
    window = ValidationWindow.read(settings, plan)
    result = platform.backtest(shop.CUTOFFS)
    assert result.computed == 0
    assert window.loss(settings.training) == result.results[0].net.all.log_loss
    other = settings.training.model_copy(update={"learning_rate": 1e-2})
    assert window.loss(other) != result.results[0].net.all.log_loss
    with pytest.raises(TrainingError, match="no longer finite"):
        window.loss(settings.training.model_copy(update={"learning_rate": 1e30}))


# The search ------------------------------------------------------------------------------------------------------


def test_it_finds_the_bottom_gives_up_what_is_worse_and_survives_a_kill(platform, bowl):
    whole = platform.tune(shop.AS_OF, trials=9)
    assert whole.computed == 10
    assert whole.windows == (platform.as_of(FIRST), platform.as_of(SECOND))
    assert whole.current.training == platform.settings.training
    depth = bowl.depth(platform.settings.training)
    assert whole.current.losses == pytest.approx((depth + 0.01, depth))
    assert whole.best.loss < whole.current.loss
    assert whole.best.loss == min(trial.loss for trial in whole.trials)
    assert whole.best.loss == pytest.approx(bowl.depth(whole.best.training) + 0.005)
    given_up = [trial for trial in whole.trials if trial.reason]
    reasons = {trial.reason.partition(" on the window")[0] for trial in given_up}
    assert reasons == {"worse than most", "The training loss is no longer finite."}
    assert all(trial.loss == math.inf and len(trial.losses) < 2 for trial in given_up)
    assert len(bowl) == 2 * 10 - len(given_up)
    # The same again: nothing to do.
    again = platform.tune(shop.AS_OF, trials=9)
    assert (again.computed, again.trials, len(bowl)) == (0, whole.trials, 2 * 10 - len(given_up))

    # Killed within a trial, then gone on with in two steps: the same trials.
    shutil.rmtree(platform.home / "tuning")
    bowl.clear()
    bowl.stop_at = 9
    with pytest.raises(KeyboardInterrupt):
        platform.tune(shop.AS_OF, trials=9)
    bowl.stop_at = 0
    assert platform.tune(shop.AS_OF, trials=6).trials == whole.trials[:7]
    assert platform.tune(shop.AS_OF, trials=9).trials == whole.trials


def test_another_seed_tries_others_and_a_timeout_ends_it(platform, bowl):
    first = platform.tune(shop.AS_OF, trials=1)
    late = platform.tune(shop.AS_OF, trials=1, seed=8, timeout_seconds=1e-9)
    assert late.study != first.study
    assert late.trials == (first.current,)  # without it the result would have nothing to be beside
    assert late.best is late.current
    second = platform.tune(shop.AS_OF, trials=1, seed=8)
    assert (second.computed, len(second.trials)) == (1, 2)
    assert second.trials[1].training != first.trials[1].training


def test_the_command_prints_toml_and_changes_nothing(platform, bowl, tmp_path, monkeypatch):
    variables = shop.environment(platform.home)
    done = CliRunner().invoke(app, ["tune", "--as-of", shop.AS_OF, "--trials", "6"], env=variables)
    assert done.exit_code == 0, done.output
    assert platform.settings.training == shop.settings_of(platform.home).training
    result = platform.tune(shop.AS_OF, trials=6)
    assert result.computed == 0
    assert done.stdout == tuning_toml(result, platform.settings)
    assert f"#   now   {result.current.loss:.5f}" in done.stdout
    assert f"#   best  {result.best.loss:.5f}" in done.stdout
    assert f"# now {platform.settings.training.learning_rate}" in done.stdout

    # What was printed is what was measured.
    file = tmp_path / "propensity.toml"
    file.write_text(done.stdout)
    monkeypatch.setenv("PROPENSITY_CONFIG", str(file))
    set_now = load_settings().training
    searched = tomllib.loads(done.stdout)["training"].keys()
    assert len(searched) == 11
    for name in searched:
        assert getattr(set_now, name) == getattr(result.best.training, name)


def test_where_nothing_is_better_it_prints_what_is_set(platform, bowl):
    best = TrainingSettings(
        **platform.settings.training.model_dump() | {"learning_rate": 1e-3, "dropout": 0.4, "weight_decay": 0.0}
    )
    settings = platform.settings.model_copy(update={"training": best})
    result = Platform(settings).tune(shop.AS_OF, trials=1)
    assert result.best.current
    text = tuning_toml(result, settings)
    assert "No trial was better than the current settings" in text
    assert "# now" not in text
    assert tomllib.loads(text)["training"]["weight_decay"] == 0.0


# Refused ---------------------------------------------------------------------------------------------------------


def test_without_optuna_the_extra_is_named(platform, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(RuntimeMissingError, match=r"pip install 'propensity\[tune\]'") as refused:
        platform.tune(shop.AS_OF)
    assert "\n" not in str(refused.value)


def test_a_damaged_study_is_named(platform, bowl, monkeypatch):
    monkeypatch.setattr("propensity.experiments.tuning._inputs", lambda *of: "inputs")
    study = platform.home / "tuning/us/2024-08-01-inputs.db"
    study.parent.mkdir(parents=True)
    study.write_bytes(b"no database" * 100)
    with pytest.raises(WarehouseError, match="Remove it to search anew") as refused:
        platform.tune(shop.AS_OF, trials=1)
    assert str(study) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("given", ["0s", "10", "m", "1x", "-5m", ""])
def test_a_timeout_that_is_none_is_refused(platform, given):
    done = CliRunner().invoke(
        app, ["tune", "--as-of", shop.AS_OF, f"--timeout={given}"], env=shop.environment(platform.home)
    )
    assert isinstance(done.exception, SettingsError)
    assert "90s, 30m or 2h" in str(done.exception)


def test_too_short_a_history_is_said(platform):
    with pytest.raises(TrainingError, match="too little history"):
        platform.tune("2024-05-01")
    with pytest.raises(SettingsError, match="1 trial or more"):
        platform.tune(shop.AS_OF, trials=0)
