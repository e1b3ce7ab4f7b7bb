"""Builds on a Spark cluster whose workers die: every customer once, the rows of an undisturbed build and of DuckDB's.

A master and two workers of one core. Workers are killed by what the build has come to, never by the clock: at a part
that one of them is writing, or after so many signal files, when rows that later steps need lie in it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from propensity import columns
from propensity.api import Platform
from propensity.features.labels import find_labels
from propensity.features.snapshot import Snapshot
from propensity.features.snapshots import TABLES, find_snapshot
from propensity.settings import Settings
from propensity.warehouse.regions import local_midnight
from tests import shop
from tests.features.test_spark_build import assert_equal_snapshots, rows_of
from tests.features.worlds import lake_files
from tests.spark import needs_spark

pytestmark = [
    needs_spark,
    pytest.mark.slow,
    pytest.mark.timeout(900),  # on a busy machine
]

CUSTOMERS = 1_500
ROWS_PER_TASK = 20_000
ROWS_PER_PART = 250
"""Six parts, so that some are left when the first is met; Spark's tasks are as many as for many more events."""
HERE = {"PROPENSITY_FEATURES__ENGINE": "spark", "SPARK_LOCAL_IP": "127.0.0.1"}
EVERY = 3
"""Of the signal files, every so many: each costs a second of Spark's planning, and all are alike here."""
BUILD = f"""if True:
    import sys
    from datetime import date
    from pathlib import Path
    from propensity.features import snapshots, spark_relations
    from propensity.features.labels import build_labels
    from propensity.features.snapshots import build_snapshots
    from propensity.settings import load_settings
    from propensity.warehouse.regions import local_midnight
    spark_relations.ROWS_PER_TASK, spark_relations.ROWS_PER_PART = {ROWS_PER_TASK}, {ROWS_PER_PART}
    snapshots.SIGNAL_FILES = snapshots.SIGNAL_FILES[::{EVERY}]
    settings = load_settings()
    build = {{"features": build_snapshots, "labels": build_labels}}[sys.argv[1]]
    def progress(step, done, total):
        # In hundredths of an as_of, whatever the number of signal files.
        (settings.home / "progress").write_text(f"{{100 * done // total}}")
    build(settings, [local_midnight(date.fromisoformat("{shop.AS_OF}"), settings)], progress)
"""


@dataclass(frozen=True)
class Build:
    """What a command builds.

    Attributes:
        name: Of the command.
        tables: That it writes.
        written: The tables that tasks write, a file a part.
    """

    name: str
    tables: tuple[str, ...]
    written: tuple[str, ...]

    def found(self, home: Settings) -> Snapshot:
        """Return what has been built."""
        return {"features": find_snapshot, "labels": find_labels}[self.name](home, as_of_of(home))


FEATURES = Build("features", TABLES, tuple(columns.feature_view(family) for family in columns.FAMILIES))
LABELS = Build("labels", (columns.CATEGORY_LABELS,), (columns.CATEGORY_LABELS,))


def as_of_of(settings):
    return local_midnight(date.fromisoformat(shop.AS_OF), settings)


@pytest.fixture(scope="module")
def imported(tmp_path_factory) -> Settings:
    """A home with events and attributes of `CUSTOMERS`; for reading."""
    directory = tmp_path_factory.mktemp("imported")
    files = shop.write_shop(directory / "files", customers=CUSTOMERS)
    platform = Platform(shop.settings_of(directory / "home"))
    platform.import_customers(str(files / "customers.csv"))
    platform.import_events(str(files / "events.parquet"))
    return platform.settings


def copy_of(home: Settings, directory: Path) -> Settings:
    shutil.copytree(home.home, directory)
    return home.model_copy(update={"home": directory})


@pytest.fixture(scope="module")
def by_duckdb(imported, tmp_path_factory) -> Settings:
    """The home with DuckDB's builds; for reading."""
    home = copy_of(imported, tmp_path_factory.mktemp("duckdb") / "home")
    for build in (FEATURES, LABELS):
        assert_ends_well(start(build, home, PROPENSITY_FEATURES__ENGINE="local"))
    return home


@pytest.fixture(scope="module")
def undisturbed(imported, tmp_path_factory) -> Settings:
    """The home with Spark's builds, which nothing has disturbed; for reading."""
    home = copy_of(imported, tmp_path_factory.mktemp("undisturbed") / "home")
    for build in (FEATURES, LABELS):
        assert_ends_well(start(build, home, PROPENSITY_SCORING__SPARK_MASTER="local[2]"))
    return home


@pytest.fixture
def home(imported, tmp_path) -> Settings:
    return copy_of(imported, tmp_path / "home")


def start(build: Build, home: Settings, **options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, build.name],
        env=shop.environment(home.home, **HERE | options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_progress(running, home, hundredths):
    file = home.home / "progress"
    wait_until(running, lambda: file.exists() and int(file.read_text() or 0) >= hundredths)


def wait_until(running, happened):
    while running.poll() is None and not happened():
        time.sleep(0.005)
    assert running.poll() is None, running.communicate()[1]


def assert_ends_well(running):
    out, err = running.communicate()
    assert running.returncode == 0, err
    told = [line for line in err.splitlines() if not line.startswith("Spark has begun no task for 30 s.")]
    assert (out, told) == ("", [])  # what Spark prints is in its log


def assert_whole(build: Build, home: Settings, undisturbed: Settings, by_duckdb: Settings) -> None:
    """The run that was disturbed is the one that wasn't, file by file; its rows are DuckDB's, each customer once."""
    run = build.found(home)
    assert run == build.found(undisturbed) == build.found(by_duckdb)
    assert run.rows == CUSTOMERS
    for table in build.tables:
        (rows, files), (expected, expected_files) = (rows_of(each, table, run) for each in (home, undisturbed))
        assert rows.equals(expected)
        assert [file.relative_to(home.lake) for file in files] == [
            file.relative_to(undisturbed.lake) for file in expected_files
        ]
        if table in build.written:
            assert len(files) > 2
            customers = rows.column(columns.CUSTOMER_ID).to_pylist()
            assert customers == sorted(shop.customer_name(number) for number in range(CUSTOMERS))
    if build == FEATURES:
        assert_equal_snapshots(by_duckdb, home, run)
    else:
        assert rows_of(by_duckdb, columns.CATEGORY_LABELS, run)[0].equals(rows)
    others = {FEATURES: LABELS, LABELS: FEATURES}[build].tables
    assert lake_files(home).keys() == {name for name in lake_files(undisturbed) if not name.startswith(others)}
    assert list(home.lake.glob(".staging/*")) == []  # nor an empty directory


@pytest.fixture
def driver(home, cluster):
    """Starts a build on the cluster; ends it, and its JVM, with the test, however that goes."""
    started: list[subprocess.Popen[str]] = []

    def begin(build: Build) -> subprocess.Popen[str]:
        started.append(start(build, home, **cluster.environment()))
        return started[-1]

    yield begin
    for each in started:
        if each.poll() is None:
            each.kill()  # its JVM ends by itself when its input does
            each.communicate()


@pytest.mark.parametrize("build", [FEATURES, LABELS], ids=lambda build: build.name)
def test_a_worker_killed_at_a_part_is_made_up_for(build, home, undisturbed, by_duckdb, cluster, driver):
    """The whole worker, its executor and that one's Python: as a machine that fails takes them."""
    running = driver(build)
    if build == FEATURES:
        wait_for_progress(running, home, 80)  # parts come after the signal files
    attempt = cluster.stop_a_writer(home.home)
    # The other worker goes on with parts of its own: the second one begins when the first is finished.
    wait_until(running, lambda: len(list(attempt.file.parent.glob(f"{build.written[0]}-*"))) > 2)
    cluster.kill(attempt.host)
    assert attempt.file.exists()  # half written, under a name that nobody was told of
    assert_ends_well(running)
    assert_whole(build, home, undisturbed, by_duckdb)
    lost = [event for event in cluster.events("TaskEnd") if event["Task End Reason"]["Reason"] == "ExecutorLostFailure"]
    assert [event["Task Info"]["Host"] for event in lost] == [attempt.host]


def test_an_executor_killed_between_signal_files_is_made_up_for(home, undisturbed, by_duckdb, cluster, driver):
    """The JVM that holds half of the kept rows. Its worker stays and starts another one."""
    running = driver(FEATURES)
    wait_for_progress(running, home, 50)
    host = max(cluster.hosts)
    executor = cluster.executor(host)
    executor.kill()
    executor.wait()
    assert_ends_well(running)
    assert_whole(FEATURES, home, undisturbed, by_duckdb)
    assert [event["Removed Reason"] for event in cluster.events("ExecutorRemoved")]
    added = [event["Executor Info"]["Host"] for event in cluster.events("ExecutorAdded")]
    assert added.count(host) == 2
