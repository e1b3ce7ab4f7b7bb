"""Spark's builds beside DuckDB's: every signal, whole snapshots and labels, on histories made of edges.

One SparkContext serves the module: the engine takes the one that is there, as in a notebook.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from propensity import columns
from propensity.api import Platform
from propensity.errors import EngineError, SettingsError
from propensity.features import signal_files, snapshots, spark_labels, spark_relations, spark_snapshots
from propensity.features.dictionary_store import FeatureIndices, load_dictionary
from propensity.features.events import event_imports
from propensity.features.label_rows import LabelRun
from propensity.features.labels import build_labels, label_window_end
from propensity.features.signal_files import SIGNAL_FILES, SignalFile
from propensity.features.snapshot_rows import VALUE_DECIMALS
from propensity.features.snapshots import build_snapshots, find_snapshot
from propensity.features.spark_labels import write_labels
from propensity.features.spark_relations import SparkRelations
from propensity.features.spark_snapshots import SnapshotInputs
from propensity.scoring_settings import ScoringSettings
from propensity.settings import FeatureSettings, LabelSettings
from propensity.spark_session import spark_context, spark_sql
from propensity.warehouse.lake import Lake
from tests import shop
from tests.features.test_point_in_time_oracle import AS_OFS, FIRST, LAST
from tests.features.worlds import (
    MICROSECOND,
    Attribute,
    Event,
    anchors,
    import_attribute_list,
    import_list,
    lake_files,
    new_home,
    read_contents,
    read_labels,
)
from tests.spark import needs_spark

pytestmark = [
    needs_spark,
    pytest.mark.timeout(900),  # on a busy machine
]

SPARK = FeatureSettings(engine="spark")
HERE = ScoringSettings(
    spark_master="local[2]",
    spark={
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.log.level": "ERROR",
    },
)
UNIT = 10.0**-VALUE_DECIMALS


@pytest.fixture(scope="module", autouse=True)
def _one_application(tmp_path_factory):
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    with spark_context(shop.settings_of(tmp_path_factory.mktemp("home"), scoring=HERE), "tests"):
        yield


@pytest.fixture(autouse=True)
def _several_tasks_and_parts(monkeypatch):
    monkeypatch.setattr(spark_relations, "ROWS_PER_TASK", 1_500)
    monkeypatch.setattr(spark_relations, "ROWS_PER_PART", 60)


def edges(seed: int = 5, n_events: int = 500) -> tuple[list[Event], list[Attribute]]:
    """Events of a few customers around as_ofs, windows' edges and clock changes: ties, late records, NULLs."""
    rng = np.random.default_rng(seed)

    def pick(*of):
        return of[rng.integers(len(of))]

    def instant() -> datetime:
        as_of = pick(*AS_OFS)
        return pick(
            as_of + int(rng.integers(-2, 3)) * MICROSECOND,
            as_of - timedelta(days=int(pick(7, 30, 60, 90, 180, 360, 365))) + int(rng.integers(-1, 2)) * MICROSECOND,
            as_of + timedelta(minutes=int(rng.integers(-90, 90))),
            as_of + timedelta(minutes=int(rng.integers(-400 * 24 * 60, 60 * 24 * 60))),
        )

    pool = [instant() for _ in range(60)]
    events = [
        Event(
            f"c{rng.integers(14):02d}",
            pick(pick(*pool), instant()),
            pick(*["purchase"] * 6, "view", "view", "coupon_redemption", "campaign_received"),
            category=pick("BREAD", "MILK", 'It\'s \\ a "TEA"', "ÄPFEL 🍏"),
            basket_id=pick("1", "2", "3", None),
            product_type=pick("RYE", "WHITE", None),
            department=pick("BAKERY", "DAIRY", None),
            brand=pick("own", "other", None),
            quantity=pick(1.0, 2.0, 0.35),
            value=int(rng.integers(1, 4000)) / 100,
            discount=pick(0.0, 0.0, 0.5, 1.25),
            promoted=bool(rng.integers(2)),
            campaign_type=pick("Type A", "Type B", None),
            created_timestamp=pick(None, None, pick(*pool), instant()),
        )
        for _ in range(n_events)
    ]
    # Who was only sent something isn't known; who has attributes alone isn't either.
    events.append(Event("sent", AS_OFS[0] - timedelta(days=9), "campaign_received", campaign_type="Type A"))
    attributes = {
        (customer, name, created): Attribute(customer, name, pick("1", "2"), created)
        for customer in ("c00", "c01", "c02", "sent", "stranger")
        for name in ("age", "kids")
        for created in (None, pick(*pool), pick(*pool))
    }
    return events, list(attributes.values())


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    home = new_home(
        tmp_path_factory.mktemp("edges") / "home",
        labels=LabelSettings(event_types=("view", "purchase")),
        scoring=HERE,
    )
    events, attributes = edges()
    import_list(home, [*events, *anchors(FIRST, LAST)])
    import_attribute_list(home, attributes[::2], "some")
    import_attribute_list(home, attributes[1::2], "others")
    return home


def copy_of(home, directory, **settings):
    shutil.copytree(home.home, directory)
    return home.model_copy(update={"home": directory} | settings)


@pytest.fixture(scope="module")
def signals_of_files() -> dict[str, tuple[str, ...]]:
    """The signals of each file, as DuckDB's build meets them."""
    return {}


@pytest.fixture(scope="module")
def duckdb_home(imported, signals_of_files, tmp_path_factory):
    home = copy_of(imported, tmp_path_factory.mktemp("duckdb") / "home")

    def extend(self, built, real=FeatureIndices.extend):
        signals_of_files.update({each.file.name: each.signals for each in built})
        real(self, built)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureIndices, "extend", extend)
        return home, build_snapshots(home, AS_OFS), build_labels(home, AS_OFS)


@pytest.fixture(scope="module")
def spark_home(imported, tmp_path_factory):
    home = copy_of(imported, tmp_path_factory.mktemp("spark") / "home", features=SPARK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spark_relations, "ROWS_PER_TASK", 1_500)
        patch.setattr(spark_relations, "ROWS_PER_PART", 25)
        return home, build_snapshots(home, AS_OFS), build_labels(home, AS_OFS)


def rows_of(home, table, run):
    """A run's rows, in the order of its files, but for when they were made."""
    files = Lake(home.lake).files(table, home.region, run_id=run.run_id, as_of=run.as_of)
    tables = [pq.read_table(file, partitioning=None) for file in files]
    return pa.concat_tables(tables).drop([columns.CREATED_TIMESTAMP]).combine_chunks(), files


def assert_equal_snapshots(one, other, snapshot, *, tolerance=UNIT):
    for family in columns.FAMILIES:
        left, right = (rows_of(home, columns.feature_view(family), snapshot)[0] for home in (one, other))
        assert left.schema.equals(right.schema)
        assert left.drop([columns.VALUES]).equals(right.drop([columns.VALUES]))
        values = [rows.column(columns.VALUES).combine_chunks().flatten().to_numpy() for rows in (left, right)]
        assert np.allclose(*values, rtol=1e-6, atol=1.01 * tolerance)
    left, right = (rows_of(home, columns.CATEGORY_POPULARITY, snapshot)[0] for home in (one, other))
    assert left.equals(right)


@pytest.mark.parametrize("file", SIGNAL_FILES, ids=lambda file: file.name)
def test_a_signal_file_gives_the_same_in_both_engines(duckdb_home, spark_home, signals_of_files, file):
    (one, expected, _), (other, found, _) = duckdb_home, spark_home
    signals = set(signals_of_files[file.name])
    seen = set()
    for left, right in zip(expected, found, strict=True):
        features = [
            {place: value for place, value in read_contents(home, snapshot).features.items() if place[1] in signals}
            for home, snapshot in ((one, left), (other, right))
        ]
        assert features[0].keys() == features[1].keys()
        assert features[1] == pytest.approx(features[0], rel=1e-6, abs=1.01 * UNIT)
        seen |= {signal for _, signal, _ in features[0]}
    assert seen == signals


def test_snapshots_are_equal_row_by_row(duckdb_home, spark_home):
    (one, expected, _), (other, found, _) = duckdb_home, spark_home
    assert found == expected
    dictionaries = load_dictionary(one), load_dictionary(other)
    for name in ("family", "signal", "key", "category_index"):
        assert list(getattr(dictionaries[0], name)) == list(getattr(dictionaries[1], name))
    for snapshot in expected:
        assert_equal_snapshots(one, other, snapshot)
    sizes = [len(rows_of(other, columns.feature_view("profile"), snapshot)[1]) for snapshot in found]
    assert max(sizes) > 1  # several parts, each with files of its own
    assert "stranger" not in read_contents(other, found[-1]).spine
    assert "sent" not in read_contents(other, found[-1]).spine


def test_labels_are_equal_row_by_row(duckdb_home, spark_home):
    (one, _, expected), (other, _, found) = duckdb_home, spark_home
    assert found == expected
    for labels in expected:
        left, right = (rows_of(home, columns.CATEGORY_LABELS, labels)[0] for home in (one, other))
        assert left.equals(right)
    assert any(2 in classes.values() for classes in read_labels(other, found[0]).values())
    assert max(len(rows_of(other, columns.CATEGORY_LABELS, labels)[1]) for labels in found) > 1


def nodes(plan) -> list[str]:
    """The names of a plan's nodes; what is kept is a leaf."""
    children = plan.children()
    below = [name for number in range(children.size()) for name in nodes(children.apply(number))]
    return [plan.nodeName(), *below]


def test_customers_stay_within_their_tasks(imported):
    """After the shuffle by customer no signal file needs another one, not even for a join of large tables."""
    runs = dict.fromkeys(AS_OFS, "run")
    inputs = SnapshotInputs(runs, event_imports(imported), [], SIGNAL_FILES, snapshots.POPULARITY_DAYS)
    with spark_sql(imported, "test") as spark, SparkRelations(spark) as relations:
        spark_snapshots._stage(imported, relations, inputs)
        spark.conf.set("spark.sql.autoBroadcastJoinThreshold", "-1")
        spark.conf.set("spark.sql.adaptive.enabled", "false")  # a plan that is not final shows no nodes
        found = {}
        for file in SIGNAL_FILES:
            found[file.name] = nodes(relations.run(file.sql, file.name)._jdf.queryExecution().executedPlan())
    assert "SortMergeJoin" in found["rhythm"]
    assert "InMemoryTableScan" in found["purchases_by_category"]
    assert "Window" in found["purchases_by_category"]  # gaps of those out of order, within each snapshot
    assert [name for name, plan in found.items() if "Exchange" in plan] == []


def test_what_one_engine_has_built_the_other_finds(spark_home):
    home, found, labels = spark_home
    files = lake_files(home)
    local = home.model_copy(update={"features": FeatureSettings()})
    assert build_snapshots(local, AS_OFS) == found
    assert build_labels(local, AS_OFS) == labels
    assert lake_files(home) == files


def test_what_happens_or_is_recorded_later_changes_nothing(duckdb_home, tmp_path):
    expected_home, expected, _ = duckdb_home
    home = copy_of(expected_home, tmp_path / "home", features=SPARK)
    as_of = AS_OFS[3]
    later = as_of + MICROSECOND
    planted = [
        Event("c00", as_of, category="BREAD", basket_id="1", value=1e6),
        Event("new", later, category="BREAD"),
        Event("c00", as_of - timedelta(days=3), category="BREAD", basket_id="9", created_timestamp=later),
        Event("c01", as_of - MICROSECOND, "view", category="MILK", created_timestamp=as_of + timedelta(days=1)),
    ]
    import_list(home, planted, "planted")
    import_attribute_list(home, [Attribute("c00", "age", "99", later)], "later")
    (found,) = build_snapshots(home, [as_of])
    assert found.run_id != expected[3].run_id  # the import reaches before the as_of, so all was built again
    assert read_contents(home, found) == read_contents(home, expected[3])


def test_a_signal_file_that_spark_refuses_is_named(imported, tmp_path, monkeypatch):
    home = copy_of(imported, tmp_path / "home", features=SPARK)
    before = lake_files(home)
    shutil.copytree(signal_files.SIGNALS, tmp_path / "signals")
    monkeypatch.setattr(signal_files, "SIGNALS", tmp_path / "signals")
    monkeypatch.setattr(snapshots, "SIGNAL_FILES", (SignalFile("more", "products", "weekday"),))
    for sql, said in (
        ("SELECT nonsense FROM history", "signals/more.sql: Spark refuses it: "),
        ("SELECT snapshot, customer_id, brand AS key FROM history", "one column per signal"),
        ("SELECT snapshot, customer_id, brand AS key, jaccard(brand, brand) AS n_1d FROM history", "JACCARD"),
    ):
        (tmp_path / "signals" / "more.sql").write_text(sql)
        with pytest.raises(SettingsError, match=r"signals/more\.sql") as raised:
            build_snapshots(home, AS_OFS[:1])
        assert said in str(raised.value)
        assert "\n" not in str(raised.value)
    assert lake_files(home) == before


def test_a_build_that_dies_while_its_runs_appear_leaves_whole_runs_and_is_finished_by_the_other_engine(
    duckdb_home, imported, tmp_path, monkeypatch
):
    home = copy_of(imported, tmp_path / "home", features=SPARK)
    before, as_ofs = lake_files(home), AS_OFS[-2:]

    def die(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # the tasks have written their files, no run has them
        patch.setattr(spark_snapshots, "write_popularity", die)
        with pytest.raises(KeyboardInterrupt):
            build_snapshots(home, as_ofs)
    assert lake_files(home) == before
    with monkeypatch.context() as patch:  # all runs have appeared, the catalogue doesn't know
        patch.setattr(snapshots, "_record", die)
        with pytest.raises(KeyboardInterrupt):
            build_snapshots(home, as_ofs)
    for directory in (home.lake / columns.feature_view("purchases")).glob("region=us/as_of=*"):
        shutil.rmtree(directory)
    local = home.model_copy(update={"features": FeatureSettings()})
    found = build_snapshots(local, as_ofs)
    for snapshot in found:  # one family of DuckDB's, in a file; three of Spark's, in several
        assert read_contents(local, snapshot) == read_contents(
            duckdb_home[0], duckdb_home[1][AS_OFS.index(snapshot.as_of)]
        )


def test_what_a_worker_raises_is_told_in_a_line(imported, tmp_path):
    home = copy_of(imported, tmp_path / "home", features=SPARK)
    (file,) = Lake(home.lake).files(columns.EVENTS, "us")
    content = bytearray(file.read_bytes())
    content[100 : len(content) // 2] = bytes(len(content) // 2 - 100)
    file.write_bytes(content)
    before = lake_files(home)
    with pytest.raises(EngineError, match=r"^Spark gave up\. .+[.?] The same command begins again\.$"):
        build_snapshots(home, AS_OFS[:1])
    assert lake_files(home) == before


def test_a_worker_that_sees_another_home_is_told_of(imported, tmp_path, monkeypatch):
    home = copy_of(imported, tmp_path / "home", features=SPARK)
    before = lake_files(home)

    def of_another_machine(directory, runs, parts=spark_labels.LabelParts):
        return parts(directory / "not there", runs)

    monkeypatch.setattr(spark_labels, "LabelParts", of_another_machine)
    with pytest.raises(EngineError) as raised:
        build_labels(home, AS_OFS[:1])
    assert str(raised.value).startswith("Spark gave up. FileNotFoundError: ")
    assert f"Do all machines see the home under {home.home}, and may they read and write there?" in str(raised.value)
    assert lake_files(home) == before


@pytest.mark.slow
def test_a_killed_driver_leaves_no_half_run(duckdb_home, imported, tmp_path):
    home = copy_of(imported, tmp_path / "home")
    build = ["features", "build", "--as-of", AS_OFS[0].isoformat(), "--engine", "spark", "--master", "local[1]"]
    options = {
        "PROPENSITY_LABELS__EVENT_TYPES": '["view", "purchase"]',
        "PROPENSITY_SCORING__SPARK": json.dumps(HERE.spark),
    }
    running = subprocess.Popen(
        shop.command(*build), env=shop.environment(home.home, **options), stderr=subprocess.PIPE, text=True
    )
    while running.poll() is None and not list(home.lake.glob(".staging/*/customer_*.parquet")):
        time.sleep(0.002)
    assert running.poll() is None, running.communicate()[1]
    running.kill()
    running.communicate()
    assert list(home.lake.glob("customer_*/region=us/*")) == []
    again = shop.propensity(home.home, *build, **options)
    assert again.returncode == 0, again.stderr
    snapshot = find_snapshot(home, AS_OFS[0])
    assert snapshot == duckdb_home[1][0]
    assert read_contents(home, snapshot) == read_contents(duckdb_home[0], snapshot)


def test_windows_of_nobody_are_empty_runs(imported, tmp_path):
    """Labels of an instant before any event: nobody is known, and the run has a file without rows."""
    home = copy_of(imported, tmp_path / "home", features=SPARK)
    as_of = FIRST - timedelta(days=40)
    run = LabelRun(as_of, label_window_end(home, as_of), datetime.now(UTC), "us", "labels-empty")
    with spark_sql(home, "test") as spark:
        write_labels(home, spark, [run], event_imports(home))
    (file,) = Lake(home.lake).files(columns.CATEGORY_LABELS, "us", run_id="labels-empty", as_of=as_of)
    assert pq.read_metadata(file).num_rows == 0


def test_training_and_scoring_read_a_snapshot_of_sparks(finished_home, tmp_path):
    """What Feast, the training and the scorer make of several files is what they make of one."""
    made = {}
    for name, engine in (("local", FeatureSettings()), ("spark", SPARK)):
        home = shutil.copytree(finished_home, tmp_path / name)
        platform = Platform(shop.settings_of(home, features=engine, scoring=HERE))
        (snapshot,) = platform.build_features([shop.SOON_AFTER])
        result = platform.score(shop.SOON_AFTER)
        scores = rows_of(platform.settings, columns.CATEGORY_PROPENSITY, result.run)[0]
        made[name] = (
            snapshot,
            platform.training_set([shop.SOON_AFTER], labels=False).examples,
            scores,
            platform.settings,
        )
    (expected, rows, scores, _), (snapshot, rows_of_parts, scores_of_parts, settings) = made.values()
    assert snapshot == expected
    assert len(rows_of(settings, columns.feature_view("profile"), snapshot)[1]) > 1
    assert (rows.customer_id == rows_of_parts.customer_id).all()
    assert (rows.features != rows_of_parts.features).nnz == 0
    assert scores.equals(scores_of_parts)
