from __future__ import annotations

import dataclasses
import glob
import os
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from propensity.api import Platform
from propensity.models.artifact import read_artifact
from propensity.training import service
from propensity.training.service import training_is_due
from propensity.warehouse.region_lock import alone_in_region
from tests import shop

# Its homes are built once; the first test waits for them.
pytestmark = pytest.mark.timeout(900)

STAGES = ["migrate", "features", "labels", "apply", "train", "gate", "score", "materialize"]


@dataclass
class Noted:
    """An observer that keeps what it was told."""

    stages: list[str] = field(default_factory=list)
    steps: set[str] = field(default_factory=set)

    def progress(self, step: str, done: int, total: int) -> None:
        assert 0 <= done <= total
        self.steps.add(step)

    def finished(self, stage: str, what: str, seconds: float) -> None:
        assert what
        self.stages.append(stage)


def files_of(home: Path) -> dict[str, int]:
    """Every file of a home and when it was last written; without what DuckDB touches by opening."""
    return {str(path.relative_to(home)): path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}


def content_of(home: Path) -> dict[str, object]:
    """What a run gave, without the instants at which it happened to work and the names derived from them."""
    lake = home / "lake"
    content: dict[str, object] = {
        table: shop.rows_of(
            f"{lake}/{table}/**/*.parquet", "SELECT * EXCLUDE (created_timestamp, run_id)", order="ALL"
        )
        for table in ("customer_purchases", "customer_products", "customer_promotions", "customer_profile",
                      "category_labels", "category_popularity", "category_propensity")
    }  # fmt: skip
    platform = Platform(shop.settings_of(home))
    for name, query in {
        "features": "FROM features ORDER BY ALL",
        "categories": "FROM categories ORDER BY ALL",
        "positions": "FROM model_categories ORDER BY ALL",
        "models": "SELECT * EXCLUDE (created_timestamp) FROM model_versions ORDER BY ALL",
        "decisions": "SELECT * EXCLUDE (decided_timestamp) FROM gate_decisions ORDER BY ALL",
        "runs": "SELECT region, kind, state, as_of, rows FROM runs ORDER BY ALL",
        "latest": "SELECT * EXCLUDE (run_id, created_timestamp) FROM propensity_latest ORDER BY customer_id",
    }.items():
        content[name] = platform.sql(query).to_json()
    content["weights"] = {
        str(file.relative_to(home)): file.read_bytes()
        for file in sorted(home.glob("models/*/[0-9]*/**/*"))
        if file.is_file()
    }
    content["artifact"] = [read_artifact(model.artifact).sha256 for model in platform.models()]
    content["online"] = {
        customer: platform.top(customer) for customer in map(shop.customer_name, range(shop.CUSTOMERS))
    }
    return content


def assert_same(home: Path, expected: dict[str, object]) -> None:
    found = content_of(home)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == value, f"{name} differs"


@pytest.fixture(scope="module")
def undisturbed(finished_home):
    return content_of(finished_home)


# Twice ------------------------------------------------------------------------------------------------------------


def test_a_run_ends_with_propensities_of_everybody(finished_home, undisturbed):
    (run,) = [run for run in Platform(shop.settings_of(finished_home)).runs() if run.kind == "scoring"]
    assert (run.state, run.rows) == ("published", shop.CUSTOMERS)
    assert run.detail["online"]
    rows = undisturbed["category_propensity"]
    assert len(rows) == shop.CUSTOMERS
    assert len({row[0] for row in rows}) == shop.CUSTOMERS
    assert all(len(entries) == 5 for entries in undisturbed["online"].values())
    as_of = datetime.fromisoformat("2024-08-01T04:00:00+00:00")
    assert {entry.as_of for entries in undisturbed["online"].values() for entry in entries} == {as_of}


def test_the_net_has_learnt_something(finished_home):
    """Habits are easy: who bought a category last month is likelier to buy it again than who never did."""
    platform = Platform(shop.settings_of(finished_home))
    long = platform.sql("FROM propensity_long")
    bought = {
        (row["customer_id"], row["category"])
        for row in shop.event_rows()
        if "2024-07-01" <= row["event_timestamp"].isoformat() < "2024-08-01" and row["category"]
    }
    seen = np.array([pair in bought for pair in zip(long["customer_id"], long["category"], strict=True)])
    assert long["propensity"][seen].mean() > 3 * long["propensity"][~seen].mean()


def test_a_second_run_does_nothing(home):
    platform = Platform(shop.settings_of(home))
    platform.apply()
    runs, before = platform.runs(), files_of(home)
    noted = Noted()
    started = time.monotonic()
    result = platform.run(shop.AS_OF, noted)
    seconds = time.monotonic() - started
    assert platform.runs() == runs
    after = files_of(home)
    assert {name for name in after if after[name] != before.get(name)} <= {
        "warehouse.duckdb",
        ".us.lock",
        ".us.scoring.lock",
    }
    assert before.keys() - after.keys() <= {"warehouse.duckdb.wal"}
    assert result.training is None
    assert result.scoring.already_published
    assert not result.online
    assert noted.stages == [stage for stage in STAGES if stage not in ("train", "gate")]
    assert noted.steps == set()
    assert seconds < sum(run.seconds for run in runs) or seconds < 2


# Later ------------------------------------------------------------------------------------------------------------


def test_a_later_run_trains_only_when_due_and_never_with_the_future(home):
    platform = Platform(shop.settings_of(home))
    (first,) = platform.models()
    soon = platform.run(shop.SOON_AFTER)
    assert soon.training is None
    assert soon.scoring.model == first
    assert platform.models() == [first]
    assert {entry.as_of for entry in platform.top("c001")} == {platform.as_of(shop.SOON_AFTER)}

    noted = Noted()
    later = platform.run(shop.MUCH_LATER, noted)
    assert noted.stages == STAGES
    assert any(step.startswith("training") for step in noted.steps)
    assert later.training is not None
    second = later.training.model
    assert later.scoring.model == second
    assert [(model.model_version, model.state) for model in platform.models()] == [
        (first.model_version, "retired"), (second.model_version, "champion"),
    ]  # fmt: skip
    facts = read_artifact(second.artifact).metadata
    assert facts.training_window[1] == platform.as_of(shop.MUCH_LATER)
    assert max(facts.training_as_ofs) <= platform.as_of("2024-08-06")

    # An older as_of, seen now: the champion was trained behind it, so the model of that time scores.
    older = platform.run("2024-08-15")
    assert older.training is None
    assert older.scoring.model.model_version == first.model_version
    assert not older.online  # a newer as_of is online already
    assert {entry.as_of for entry in platform.top("c001")} == {platform.as_of(shop.MUCH_LATER)}
    with pytest.raises(Exception, match="No model of region 'us' was trained by 2024-07-02"):
        platform.score("2024-07-02")


@pytest.mark.parametrize(("day", "due"), [("2024-08-28", False), ("2024-08-29", True), ("2024-07-31", True)])
def test_training_is_due_after_28_days(finished_home, day, due):
    platform = Platform(shop.settings_of(finished_home))
    assert training_is_due(platform.settings, platform.as_of(day)) is due


def test_other_labels_make_training_due(finished_home):
    platform = Platform(shop.settings_of(finished_home))
    for changed in ({"horizon_days": 14}, {"event_types": ("view", "purchase")}):
        labels = platform.settings.labels.model_copy(update=changed)
        settings = platform.settings.model_copy(update={"labels": labels})
        assert training_is_due(settings, platform.as_of("2024-08-02"))


@pytest.mark.parametrize(("day", "due"), [("2024-04-03", False), ("2024-04-04", True)])
def test_days_between_trainings_are_local_ones(finished_home, monkeypatch, day, due):
    """From the 7th of March the clocks go forward within the 28 days, one of which has 23 hours."""
    platform = Platform(shop.settings_of(finished_home))
    (model,) = platform.models()
    trained = dataclasses.replace(model, trained_as_of=platform.as_of("2024-03-07"))
    monkeypatch.setattr(service, "model_for", lambda *_: trained)
    assert training_is_due(platform.settings, platform.as_of(day)) is due


def test_a_category_that_came_after_the_training(home, tmp_path):
    """Its popularity is in the snapshot, but the model has no output for it."""
    (tmp_path / "more.csv").write_text(
        "customer_id,event_timestamp,category\n" + "".join(f"c{n:03d},2024-08-02 12:00,TRUFFLES\n" for n in range(9))
    )
    platform = Platform(shop.settings_of(home))
    platform.import_events(str(tmp_path / "more.csv"))
    assert "TRUFFLES" in platform.categories()
    platform.build_features([shop.SOON_AFTER])
    scoring = platform.score(shop.SOON_AFTER)
    assert scoring.run.rows == shop.CUSTOMERS
    assert "TRUFFLES" not in set(platform.sql("SELECT DISTINCT category FROM propensity_long")["category"])
    assert platform.audience("TRUFFLES").empty


# Killed -----------------------------------------------------------------------------------------------------------


class Watch(threading.Thread):
    """Reads a home all the while, as consumers do, and keeps what it must never see."""

    def __init__(self, home: Path) -> None:
        super().__init__()
        self.home, self.wrong, self.reads = home, [], 0
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.is_set():
            for table in ("category_propensity", "customer_profile", "category_labels"):
                for directory in self.home.glob(f"lake/{table}/region=*/as_of=*/run=*"):
                    rows = shop.rows_of(f"{directory}/*.parquet", "SELECT count(*)")[0][0]
                    self.reads += 1
                    if rows != shop.CUSTOMERS and not (table != "category_propensity" and rows):
                        self.wrong.append((str(directory), rows))
            for artifact in self.home.glob("models/*/[0-9]*"):
                read_artifact(artifact)
            time.sleep(0.02)

    def stop(self) -> None:
        self._over.set()
        self.join()


def killed(home: Path, *, appears: str | None = None, after: float = 0) -> bool:
    """Start the run and kill it `after` seconds, counted from when `appears` is there; return whether it was alive."""
    running = subprocess.Popen(
        shop.command("run", "--as-of", shop.AS_OF), env=shop.environment(home), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        # glob.glob passes over a directory that the run removes under it; Path.glob raises.
        while appears and running.poll() is None and not glob.glob(f"{home}/{appears}", include_hidden=True):  # noqa: PTH207
            time.sleep(0.002)
        time.sleep(after)
    finally:
        alive = running.poll() is None
        if alive:  # else its number may be somebody else's by now
            os.killpg(running.pid, signal.SIGKILL)  # the whole group: `feast apply` is a process of its own
        running.wait()
    return alive


def finish(home: Path) -> None:
    done = shop.propensity(home, "run", "--as-of", shop.AS_OF)
    assert done.returncode == 0, done.stderr
    assert not list(home.glob("lake/.staging/*"))
    assert not list(home.glob("models/us/.*"))


MOMENTS = {
    "while features are staged": "lake/.staging/*/*",
    "as the first snapshot appears": "lake/customer_*/*/*/run=*",
    "as labels appear": "lake/category_labels/*/*/run=*",
    "as Feast's registry appears": "feast/registry.pb",
    "as the definitions are applied": "feast/applied-us",
    "while the artifact is written": "models/us/.*",
    "as the artifact appears": "models/us/[0-9]*",
    "as propensities appear": "lake/category_propensity/*/*/run=*",
}


SOME = ("while features are staged", "as the artifact appears", "as propensities appear")


@pytest.mark.parametrize("moments", [SOME, pytest.param(tuple(MOMENTS), marks=pytest.mark.slow)], ids=["some", "all"])
def test_killed_again_and_again_it_ends_as_if_nothing_had_happened(new_home, undisturbed, moments):
    """One home, killed at one moment after the other, each time a little further."""
    watch = Watch(new_home)
    watch.start()
    try:
        alive = {moment: killed(new_home, appears=MOMENTS[moment]) for moment in moments}
        finish(new_home)
    finally:
        watch.stop()
    assert all(alive.values()), alive
    assert watch.wrong == []
    assert watch.reads > 0
    assert_same(new_home, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_a_moment(new_home, undisturbed, moment):
    assert killed(new_home, appears=MOMENTS[moment])
    finish(new_home)
    assert_same(new_home, undisturbed)


@pytest.fixture(scope="module")
def seconds(imported_home, tmp_path_factory):
    """How long an undisturbed run takes."""
    home = shutil.copytree(imported_home, tmp_path_factory.mktemp("trial") / "home")
    started = time.monotonic()
    finish(home)
    return time.monotonic() - started


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_killed_at_a_random_moment(new_home, undisturbed, seconds, seed):
    """Somewhere between the process's start and its end, twice."""
    rng = np.random.default_rng(seed)
    watch = Watch(new_home)
    watch.start()
    try:
        killed(new_home, after=float(rng.uniform(0.2, 0.95)) * seconds)
        killed(new_home, after=float(rng.uniform(0.2, 0.95)) * seconds)
        finish(new_home)
    finally:
        watch.stop()
    assert watch.wrong == []
    assert_same(new_home, undisturbed)


def test_a_second_run_of_the_region_waits_or_says_so(new_home):
    settings = shop.settings_of(new_home, lock_timeout_seconds=0)
    with alone_in_region(settings):
        done = shop.propensity(new_home, "run", "--as-of", shop.AS_OF, PROPENSITY_LOCK_TIMEOUT_SECONDS="0")
        assert done.returncode == 75
        assert f"Another run of region 'us' is going on (process {os.getpid()}, since 20" in done.stderr
        with alone_in_region(settings.model_copy(update={"region": "uk"})):
            pass


@pytest.mark.slow
def test_two_runs_at_once_publish_one_result(new_home, undisturbed):
    both = [
        subprocess.Popen(
            shop.command("run", "--as-of", shop.AS_OF),
            env=shop.environment(new_home, PROPENSITY_LOCK_TIMEOUT_SECONDS="200"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for running in both:
        _, err = running.communicate()
        assert running.returncode == 0, err
    assert_same(new_home, undisturbed)
