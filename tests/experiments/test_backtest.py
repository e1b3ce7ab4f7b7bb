from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest
from typer.testing import CliRunner

from propensity.api import Platform
from propensity.cli import app
from propensity.errors import (
    LookupFailedError,
    MissingSnapshotError,
    SettingsError,
    TrainingError,
    WarehouseLockedError,
)
from propensity.experiments import backtest as module
from propensity.experiments.only_one import only_one
from propensity.models.artifact import read_artifact
from tests import shop

SIMPLE = {"global_popularity", "personal_frequency", "recency_weighted_frequency"}


@pytest.fixture(scope="module")
def backtested(backtested_home, tmp_path_factory) -> Platform:
    """A platform whose backtest over `shop.CUTOFFS` is finished and stays so, whatever a test repeats."""
    home = shutil.copytree(backtested_home, tmp_path_factory.mktemp("backtested") / "home")
    return Platform(shop.settings_of(home))


@pytest.fixture(autouse=True)
def applied(monkeypatch):
    """The copied Feast registry holds no path: to apply it again takes seconds and changes nothing."""
    calls = []
    monkeypatch.setattr("propensity.experiments.ingredients.apply_repository", calls.append)
    return calls


@pytest.fixture
def no_training(monkeypatch):
    def train_artifact(*arguments, **named):
        raise AssertionError("trained again")

    monkeypatch.setattr(module, "train_artifact", train_artifact)


class Noted:
    """An observer that remembers the stages."""

    def __init__(self) -> None:
        self.stages = []

    def progress(self, step, done, total) -> None:
        assert 0 <= done <= total

    def finished(self, stage, what, seconds) -> None:
        self.stages.append(stage)


# What it measures ------------------------------------------------------------------------------------------------


def test_a_cutoff_gives_the_model_and_the_figures_that_train_and_evaluate_give(backtested, no_training):
    """The champion was trained as of the last cut-off by `run`; the backtest's model has its bits, not its name."""
    result = backtested.backtest(shop.CUTOFFS, keep_models=True)
    assert [each.as_of for each in result.results] == [backtested.as_of(day) for day in shop.CUTOFFS]
    last = result.results[-1]
    (champion,) = backtested.models()
    assert last.model_version == champion.model_version
    (kept,) = backtested.home.glob(f"backtests/us/models/*/{last.model_version}")
    assert read_artifact(kept).sha256 == read_artifact(champion.artifact).sha256

    backtested.build_labels([shop.AS_OF])
    evaluation = backtested.evaluate(shop.AS_OF)
    assert set(last.evaluations) == {"net", *SIMPLE}
    for name, figures in evaluation.evaluations.items():
        assert json.dumps(last.evaluations[name].to_dict()) == json.dumps(figures.to_dict())
    assert last.rival == evaluation.rival
    assert last.gains[last.rival] == evaluation.gain
    assert last.check["households"] == shop.CUSTOMERS


def test_it_registers_promotes_and_scores_nothing(backtested_home, finished_home):
    before, after = (Platform(shop.settings_of(home)) for home in (finished_home, backtested_home))
    assert [model.model_version for model in after.models()] == [model.model_version for model in before.models()]
    assert len(after.decisions()) == len(before.decisions())
    new = {run.run_id: run.kind for run in after.runs()}
    for run in before.runs():
        del new[run.run_id]
    assert set(new.values()) == {"features", "labels"}
    assert not list(after.home.glob("backtests/us/.training-*"))


def test_each_cutoff_learned_from_windows_that_had_ended(backtested_home):
    artifacts = sorted(backtested_home.glob("backtests/us/models/*/*"), key=lambda path: path.name)
    assert len(artifacts) == len(shop.CUTOFFS)
    platform = Platform(shop.settings_of(backtested_home))
    for artifact, day in zip(artifacts, shop.CUTOFFS, strict=True):
        facts = read_artifact(artifact).metadata
        assert facts.training_window[1] == platform.as_of(day)
        # 30 days, at the same local time.
        assert all((platform.as_of(day) - as_of).days >= 29 for as_of in facts.training_as_ofs)


# Resumed ---------------------------------------------------------------------------------------------------------


def test_what_is_finished_is_not_done_again(backtested, no_training, applied):
    noted = Noted()
    result = backtested.backtest(shop.CUTOFFS, observer=noted)
    assert applied == [backtested.settings]
    assert result.computed == 0
    assert noted.stages == ["inputs"]
    # A part of the series, and what is given as another kind of instant.
    assert backtested.backtest([backtested.as_of(shop.AS_OF)]).computed == 0
    training = backtested.settings.training.model_copy(update={"seed": 8})
    with pytest.raises(AssertionError, match="trained again"):
        Platform(backtested.settings.model_copy(update={"training": training})).backtest(shop.CUTOFFS)


def test_interrupted_it_goes_on_with_what_is_missing(backtested, monkeypatch):
    (backtested.home / "backtests").rename(backtested.home / "aside")
    train, trained = module.train_artifact, []

    def stopped(settings, cutoffs, directory, *rest):
        trained.append(cutoffs.trained_as_of)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return train(settings, cutoffs, directory, *rest)

    monkeypatch.setattr(module, "train_artifact", stopped)
    with pytest.raises(KeyboardInterrupt):
        backtested.backtest(shop.CUTOFFS, baselines=["global_popularity"])
    (first,) = backtested.home.glob("backtests/us/cutoffs/*.json")
    written = first.stat().st_mtime_ns
    (backtested.home / "backtests/us/.training-killed").mkdir()  # as a killed process leaves it
    result = backtested.backtest(shop.CUTOFFS, baselines=["global_popularity"])
    assert result.computed == 1
    assert trained == [backtested.as_of(shop.CUTOFFS[0])] + [backtested.as_of(shop.CUTOFFS[1])] * 2
    assert first.stat().st_mtime_ns == written
    # Only figures are left.
    left = {path.name for path in (backtested.home / "backtests/us").rglob("*") if path.is_file()}
    assert left == {".lock", *(path.name for path in backtested.home.glob("backtests/us/cutoffs/*.json"))}
    assert len(left) == 3
    shutil.rmtree(backtested.home / "backtests")
    (backtested.home / "aside").rename(backtested.home / "backtests")


def test_a_damaged_file_of_a_cutoff_is_made_again(backtested):
    for file in backtested.home.glob("backtests/us/cutoffs/2024-08-01-*.json"):
        whole = file.read_text()
        file.write_text(whole[: len(whole) // 2])
    result = backtested.backtest(shop.CUTOFFS)  # from the artifact that was kept
    assert result.computed == 1


@pytest.mark.slow
def test_killed_it_goes_on_with_what_is_missing(backtested_home, tmp_path):
    backtested = Platform(shop.settings_of(shutil.copytree(backtested_home, tmp_path / "home")))
    shutil.rmtree(backtested.home / "backtests")
    arguments = ("backtest", "--from", shop.CUTOFFS[0], "--to", shop.CUTOFFS[1], "--every", "30d")
    running = subprocess.Popen(
        shop.command(*arguments), env=shop.environment(backtested.home), stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        while running.poll() is None and not list(backtested.home.glob("backtests/us/cutoffs/*.json")):
            time.sleep(0.01)
    finally:
        alive = running.poll() is None
        if alive:
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    assert alive
    done = shop.propensity(backtested.home, *arguments)
    assert done.returncode == 0, done.stderr
    assert "1 of 2 cut-offs computed" in done.stderr
    assert not list(backtested.home.glob("backtests/us/.training-*"))


# What it leaves to read ------------------------------------------------------------------------------------------


def test_the_report_holds_every_model_on_every_cutoff(backtested, no_training):
    result = backtested.backtest(shop.CUTOFFS)
    with (result.directory / "figures.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["cutoff"], row["model"]) for row in rows] == [
        (day, name) for day in shop.CUTOFFS for name in result.results[0].evaluations
    ]
    for row, each in zip(rows, [cutoff for cutoff in result.results for _ in cutoff.evaluations], strict=True):
        assert float(row["all.log_loss"]) == each.evaluations[row["model"]].all.log_loss
        assert (row["net_minus_this_high"] == "") == (row["model"] == "net")
    figures = json.loads((result.directory / "figures.json").read_text())
    assert len(figures["figures"]) == len(rows)
    assert figures["settings"]["training"]["epochs"] == 2
    page = (result.directory / "series.html").read_text()
    assert page.count("<svg") == 6
    assert not re.findall(r"https?://|<script|<link|url\(", page)


def test_the_command_prints_a_table_and_a_summary(backtested, no_training):
    variables = shop.environment(backtested.home)
    first, last = shop.CUTOFFS
    done = CliRunner().invoke(app, ["backtest", "--from", first, "--to", last, "--every", "30d"], env=variables)
    assert done.exit_code == 0, done.output
    for said in (*shop.CUTOFFS, "net", "difference", "is ahead of every baseline in log loss and macro AUC on", "of 2"):
        assert said in done.stdout
    assert "0 of 2 cut-offs computed" in done.stderr


# Refused ---------------------------------------------------------------------------------------------------------


def test_what_cannot_be_tested_is_said_before_anything_is_built(backtested, no_training):
    before = backtested.runs()
    with pytest.raises(MissingSnapshotError, match="its labels aren't known yet") as refused:
        backtested.backtest(["2024-07-20", "2024-09-10"])
    assert "\n" not in str(refused.value)
    with pytest.raises(TrainingError, match="too little history to train as of 2024-02-10"):
        backtested.backtest(["2024-02-10", "2024-07-20"])
    with pytest.raises(LookupFailedError, match="not a baseline"):
        backtested.backtest(["2024-07-20"], baselines="lightgbn_pooled")
    with pytest.raises(SettingsError, match="needs a cut-off"):
        backtested.backtest([])
    assert backtested.runs() == before


def test_two_at_once_are_refused(backtested):
    with (
        only_one(backtested.home / "backtests/us", "backtest of region 'us'"),
        pytest.raises(
            WarehouseLockedError, match=f"Another backtest of region 'us' is going on .process {os.getpid()}"
        ),
    ):
        backtested.backtest(shop.CUTOFFS)
