"""feature_repo on Spark gives what it gives on DuckDB: history, training sets, online features, commands."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from propensity import columns
from propensity.api import Platform
from propensity.errors import WarehouseError
from propensity.feast_spark import UnsupportedSourceError, UnsupportedWriteError
from propensity.features.snapshots import find_snapshot
from propensity.scoring import service
from propensity.scoring_settings import ScoringSettings
from propensity.training.stored_training_set import stored_training_set
from propensity.training.training_set import training_set
from propensity.warehouse.lake import Lake
from tests import shop
from tests.spark import needs_spark

pytestmark = [
    needs_spark,
    pytest.mark.timeout(900),
    # Spark's own, of pandas and of sockets.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
]

SPARK = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", "spark.driver.memory": "1g"}
ON_SPARK = {
    "PROPENSITY_OFFLINE_STORE": "spark",
    "PROPENSITY_SCORING__SPARK_MASTER": "local[2]",
    "PROPENSITY_SCORING__SPARK": json.dumps(SPARK),
}
DAY = timedelta(days=1)


def on_spark(home: Path) -> Platform:
    scoring = ScoringSettings(spark_master="local[2]", spark=SPARK | {"spark.sql.shuffle.partitions": "4"})
    return Platform(shop.settings_of(home, offline_store="spark", scoring=scoring))


def plant(home: Path) -> None:
    """Give customers' purchases rows that a rebuild has superseded, and one that it hasn't."""
    settings = shop.settings_of(home)
    snapshot = find_snapshot(settings, Platform(settings).as_of(shop.AS_OF))
    lake, view = Lake(settings.lake), columns.feature_view("purchases")
    rows = pq.read_table(lake.run_directory(view, "us", snapshot.run_id, snapshot.as_of), partitioning=None)
    created = rows.column(columns.CREATED_TIMESTAMP)[0].as_py()
    for run, number, shift in (("features-superseded", 90, -DAY), ("features-later", 91, DAY)):
        n = rows.num_rows if shift < timedelta(0) else 1
        planted = rows.slice(0, n)
        for name, array in (
            (columns.CREATED_TIMESTAMP, pa.array([created + shift] * n, pa.timestamp("us", "UTC"))),
            (columns.INDICES, pa.array([[number]] * n, pa.list_(pa.int32()))),
            (columns.VALUES, pa.array([[float(number)]] * n, pa.list_(pa.float32()))),
        ):
            planted = planted.set_column(planted.schema.get_field_index(name), name, array)
        with lake.new_run(view, "us", run, snapshot.as_of) as directory:
            pq.write_table(planted, directory / "part-0.parquet")


@pytest.fixture(scope="module")
def duckdb(finished_home, tmp_path_factory):
    """A home with planted rows, on DuckDB. What changes it changes the one on Spark alike."""
    home = shutil.copytree(finished_home, tmp_path_factory.mktemp("duckdb") / "home")
    plant(home)
    return Platform(shop.settings_of(home))


@pytest.fixture(scope="module")
def spark(duckdb, tmp_path_factory):
    """The same home, elsewhere and under a name full of wildcards, on Spark; the session ends with the module."""
    platform = on_spark(shutil.copytree(duckdb.settings.home, tmp_path_factory.mktemp("spark") / "a [1] {b} *"))
    assert platform.apply()
    assert not platform.apply()
    yield platform
    from pyspark.sql import SparkSession  # noqa: PLC0415 - not there where these tests are skipped

    if (session := SparkSession.getActiveSession()) is not None:
        session.stop()


def asked(platform: Platform) -> pd.DataFrame:
    """Customers and a stranger, before, at and after the as_of, to the ttl and beyond, in no order, some twice."""
    at = platform.as_of(shop.AS_OF)
    instants = [
        at - timedelta(microseconds=1),
        at,
        at + 10 * DAY,
        at + 35 * DAY,
        at + 35 * DAY + timedelta(microseconds=1),
    ]
    rows = [(shop.customer_name(number), instant) for number in (*range(12), 500) for instant in instants]
    order = np.random.default_rng(3).permutation(np.r_[np.arange(len(rows)), :5])
    frame = pd.DataFrame([rows[row] for row in order], columns=[columns.CUSTOMER_ID, columns.EVENT_TIMESTAMP])
    return frame.assign(event_timestamp=frame[columns.EVENT_TIMESTAMP].dt.as_unit("us"), note=np.arange(len(frame)))


def history(platform: Platform, **options: object):
    store = platform.feature_store()
    service = store.get_feature_service(columns.TRAINING_SERVICE)
    return store.get_historical_features(
        entity_df=asked(platform), features=service, full_feature_names=True, **options
    )


def test_history_is_duckdbs(duckdb, spark):
    expected, found = history(duckdb).to_arrow(), history(spark).to_arrow()
    assert found.schema.equals(expected.schema)
    assert found.equals(expected)
    purchases = found.column("customer_purchases__indices").to_pylist()
    assert [90] not in purchases  # superseded
    assert [91] in purchases
    at = {stamp: number for number, stamp in enumerate(sorted(set(found.column("event_timestamp").to_pylist())))}
    by_instant = [[] for _ in at]
    for row in found.select(["customer_id", "event_timestamp", "customer_profile__indices"]).to_pylist():
        if row["customer_id"] != "c500":
            by_instant[at[row["event_timestamp"]]].append(row["customer_profile__indices"])
        else:
            assert row["customer_profile__indices"] is None
    # An older snapshot stands in before the as_of; the ttl is inclusive.
    assert [any(by_instant[number]) for number in range(5)] == [True, True, True, True, False]


def test_what_was_known_then_is_duckdbs(duckdb, spark):
    options = {"filter_by_created_timestamp": True}
    assert history(spark, **options).to_arrow().equals(history(duckdb, **options).to_arrow())


def test_a_stream_is_the_whole_in_order_and_leaves_nothing(spark):
    job = history(spark)
    whole, parts = job.to_arrow(), list(job.to_record_batches(7))
    assert max(part.num_rows for part in parts) <= 7
    assert pa.Table.from_batches(parts).equals(whole)
    assert list((spark.settings.home / "tmp").iterdir()) == []
    assert job.metadata.keys == history(spark).metadata.keys
    assert set(job.metadata.keys) == {"customer_id", "note"}


def test_training_sets_are_duckdbs(duckdb, spark, tmp_path):
    as_ofs = [duckdb.as_of("2024-07-02"), duckdb.as_of("2024-06-02")]
    expected, found = (training_set(platform.settings, as_ofs).examples for platform in (duckdb, spark))
    assert list(found.customer_id) == list(expected.customer_id)
    assert expected.features.nnz > 1000
    for name in ("features", "labels"):
        for part in ("indptr", "indices", "data"):
            assert np.array_equal(getattr(getattr(found, name), part), getattr(getattr(expected, name), part))
    stored = [
        stored_training_set(platform.settings, as_ofs, tmp_path / name).examples
        for platform, name in ((duckdb, "duckdb"), (spark, "spark"))
    ]
    assert len(stored[0].files) == 2
    assert [file.read_bytes() for file in stored[1].files] == [file.read_bytes() for file in stored[0].files]


def test_materializing_is_duckdbs(duckdb, spark):
    at = duckdb.as_of(shop.AS_OF)
    rows = [{"customer_id": shop.customer_name(number)} for number in range(shop.CUSTOMERS + 1)]
    answers = []
    for platform in (duckdb, spark):
        (platform.settings.home / "feast" / "online_store.db").unlink()
        store = platform.feature_store()
        for view in store.list_feature_views():
            if view.online:
                store._get_provider().online_store.update(store.config, [], [view], [], [], partial=True)
        store.materialize(at - DAY, at + DAY, [columns.TOP_CATEGORIES_VIEW])
        service = store.get_feature_service(columns.SERVING_SERVICE)
        found = store.get_online_features(features=service, entity_rows=rows)
        answers.append(found.to_dict(include_event_timestamps=True))
    assert answers[1] == answers[0]
    tops = answers[0]["top_categories"]
    assert tops.count(None) == 1
    assert spark.top("c001") == duckdb.top("c001")


def test_scoring_on_spark_from_feast_is_duckdbs_to_the_last_byte(duckdb, spark, monkeypatch):
    monkeypatch.setattr(service, "created_after", lambda newest: datetime(2100, 1, 1, tzinfo=UTC))
    published = []
    for platform, engine in ((duckdb, "local"), (spark, "spark")):
        scoring = platform.settings.scoring.model_copy(update={"features_from": "feast", "engine": engine})
        settings = platform.settings.model_copy(update={"scoring": scoring, "top_k": 4})
        result = service.score(settings, platform.as_of(shop.AS_OF))
        directory = Lake(settings.lake).run_directory(
            columns.CATEGORY_PROPENSITY, "us", result.run.run_id, result.run.as_of
        )
        published.append({file.name: file.read_bytes() for file in directory.iterdir()})
        assert result.run.rows == shop.CUSTOMERS
    assert published[1] == published[0]


def test_what_the_store_cannot_read_or_write_is_refused(duckdb, spark):
    from propensity.feast_spark.store import SparkLakeOfflineStore  # noqa: PLC0415 - imports pyspark

    config = spark.feature_store().config
    view = duckdb.feature_store().get_feature_view(columns.feature_view("purchases"))
    with pytest.raises(UnsupportedSourceError, match=r"^DuckDBSource 'customer_purchases' .* apply the repository"):
        SparkLakeOfflineStore.get_historical_features(config, [view], [], None, None, "")
    with pytest.raises(UnsupportedWriteError, match=r"'customer_purchases' reads a lake"):
        SparkLakeOfflineStore.offline_write_batch(config, view, pa.table({}), None)


def test_before_the_first_run_there_is_nothing(imported_home, tmp_path, spark):
    platform = on_spark(shutil.copytree(imported_home, tmp_path / "home"))
    assert platform.apply()
    store = platform.feature_store()
    frame = pd.DataFrame({"customer_id": ["c001"], "event_timestamp": [platform.as_of(shop.AS_OF)]})
    for name in (columns.TRAINING_SERVICE, columns.LABEL_SERVICE, columns.SERVING_SERVICE, columns.FULL_SERVICE):
        service = store.get_feature_service(name)
        found = store.get_historical_features(entity_df=frame, features=service, full_feature_names=True).to_arrow()
        assert found.num_rows == 1
        assert all(column.null_count == 1 for column in found.columns[2:])
    store.materialize(platform.as_of("2024-01-01"), platform.as_of(shop.AS_OF), [columns.TOP_CATEGORIES_VIEW])


def test_a_registry_of_the_other_store_is_told_and_applied_again(home):
    spark, duckdb = on_spark(home), Platform(shop.settings_of(home))
    before = duckdb.top("c001")
    with pytest.raises(WarehouseError, match=r"applied with offline_store = duckdb.*propensity apply"):
        spark.feature_store()
    assert spark.apply()
    assert spark.top("c001") == before
    with pytest.raises(WarehouseError, match=r"applied with offline_store = spark.*propensity apply"):
        duckdb.feature_store()
    # Nothing that was stored names a place.
    names = (str(home).encode(), str(shop.ROOT).encode())
    assert not any(name in (home / "feast" / "registry.pb").read_bytes() for name in names)
    assert duckdb.apply()
    assert duckdb.top("c001") == before


def test_the_commands_work_from_anywhere(home, tmp_path, monkeypatch):
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    asking = ("feast", "get-online-features", "-e", "customer_id=c001", "-f", "category_propensity_top:top_categories")
    before = shop.propensity(home, *asking)
    (home / "feast" / "online_store.db").unlink()
    for command in (
        ("apply",),
        ("feast", "apply"),
        ("feast", "materialize", "2024-07-31T00:00:00", "2024-08-02T00:00:00", "--views", "category_propensity_top"),
    ):
        done = shop.propensity(home, *command, **ON_SPARK)
        assert done.returncode == 0, done.stderr
    after = shop.propensity(home, *asking, **ON_SPARK)
    assert json.loads(after.stdout) == json.loads(before.stdout)
    assert json.loads(after.stdout)["top_categories"][0]
    assert list(elsewhere.iterdir()) == []
