from __future__ import annotations

import fcntl
import os
import shutil
import time
from pathlib import Path
from unittest import mock

import hypothesis
import pytest

from tests import shop

# The same examples in every run, and no limit on an example's time: a busy machine must not fail a test.
hypothesis.settings.register_profile("repository", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repository")

os.environ["TZ"] = "UTC"
time.tzset()


@pytest.fixture(autouse=True)
def _no_settings_of_the_developer(monkeypatch):
    for name in list(os.environ):
        if name.startswith("PROPENSITY_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def shared_directory(tmp_path_factory, worker_id) -> Path:
    """A directory of this test session, the same one for all of xdist's workers."""
    mine = tmp_path_factory.getbasetemp()
    return mine if worker_id == "master" else mine.parent


@pytest.fixture(scope="session")
def shop_directory(shared_directory) -> Path:
    """The simulated shop's files."""
    return built_once(shared_directory / "shop", shop.write_shop)


@pytest.fixture(scope="session")
def imported_home(shared_directory, shop_directory) -> Path:
    """A home with the shop's events and customers, and nothing else. For reading: copy it to change it."""

    def build(home: Path) -> None:
        from propensity.api import Platform  # noqa: PLC0415 - seconds that most tests needn't wait for

        platform = Platform(shop.settings_of(home))
        platform.import_customers(str(shop_directory / "customers.csv"))
        platform.import_events(str(shop_directory / "events.parquet"))

    return built_once(shared_directory / "imported", build)


@pytest.fixture(scope="session")
def finished_home(shared_directory, imported_home) -> Path:
    """The home that `propensity run --as-of AS_OF` leaves behind. For reading: copy it to change it."""

    def build(home: Path) -> None:
        shutil.copytree(imported_home, home)
        done = shop.propensity(home, "run", "--as-of", shop.AS_OF)
        assert done.returncode == 0, done.stderr

    return built_once(shared_directory / "finished", build)


@pytest.fixture(scope="session")
def backtested_home(shared_directory, finished_home) -> Path:
    """The finished home after a backtest over `shop.CUTOFFS` that keeps its models. For reading: copy it to change."""

    def build(home: Path) -> None:
        from propensity.api import Platform  # noqa: PLC0415 - seconds that most tests needn't wait for

        shutil.copytree(finished_home, home)
        # What is applied holds no path: to apply it again for a moved home takes seconds and changes nothing.
        with mock.patch("propensity.experiments.ingredients.apply_repository", return_value=False):
            Platform(shop.settings_of(home)).backtest(shop.CUTOFFS, keep_models=True)

    return built_once(shared_directory / "backtested", build)


@pytest.fixture
def home(finished_home, tmp_path) -> Path:
    """A copy of the finished home, to be changed."""
    return shutil.copytree(finished_home, tmp_path / "home")


@pytest.fixture
def new_home(imported_home, tmp_path) -> Path:
    """A copy of the imported home, to be changed."""
    return shutil.copytree(imported_home, tmp_path / "home")


@pytest.fixture
def cluster(tmp_path):
    """A Spark cluster of a master and two workers of one core, for tests that are skipped where Spark isn't there."""
    from tests.scoring.spark_cluster import Cluster  # noqa: PLC0415 - imports pyspark

    with Cluster(tmp_path / "cluster") as cluster:
        yield cluster


def built_once(path: Path, build) -> Path:
    """Return `path`, built by the first process that asks for it."""
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            building = path.with_name(f"{path.name}-building")
            shutil.rmtree(building, ignore_errors=True)
            build(building)
            building.rename(path)
    return path
