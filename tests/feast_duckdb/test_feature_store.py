"""A whole Feast repository on this store: apply, history, materialization, online, saved datasets, logs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureService, FeatureStore, FeatureView, Field
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.feature_logging import LoggingConfig, LoggingDestination
from feast.infra.offline_stores.file_source import FileLoggingDestination, SavedDatasetFileStorage
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Int64

from propensity.feast_duckdb import (
    DuckDBLoggingDestination,
    DuckDBRetrievalJob,
    SavedDatasetDuckDBStorage,
    UnsupportedWriteError,
    writes,
)

from .views import CUSTOMER, entities, history, hour, source, view, write

YAML = """
project: shop
provider: local
registry:
  registry_store_type: propensity.feast_duckdb.AtomicFileRegistryStore
  path: state/deep/registry.pb
offline_store:
  type: propensity.feast_duckdb.DuckDBOfflineStore
  base_path: ../data
online_store:
  type: sqlite
  path: state/online.db
materialization:
  pull_latest_features: {pull_latest}
  online_write_batch_size: 10000
entity_key_serialization_version: 3
"""
LAKE = "lake/purchases/region=us/*/*/*.parquet"
DEFINITIONS = f'''
from datetime import timedelta
from feast import Entity, FeatureView, Field, ValueType
from feast.types import Array, Float32, Int32, Int64
from propensity.feast_duckdb import DuckDBSource

customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
purchases = FeatureView(
    name="purchases", entities=[customer], ttl=timedelta(days=90),
    schema=[Field(name="indices", dtype=Array(Int32)), Field(name="values", dtype=Array(Float32))],
    source=DuckDBSource(path="{LAKE}", timestamp_field="event_timestamp",
                        created_timestamp_column="created_timestamp", allow_empty=True),
)
'''


@pytest.fixture(params=["true", "false"], ids=["pull_latest", "pull_all"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FeatureStore]:
    """Open an empty repository, seen from another working directory."""
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "feature_store.yaml").write_text(YAML.format(pull_latest=request.param))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    before = Path.cwd()
    os.chdir(elsewhere)
    yield FeatureStore(repo_path=str(tmp_path / "repo"))
    os.chdir(before)
    assert list(elsewhere.iterdir()) == []  # nothing lands in the working directory


def build(tmp_path: Path, run: str, *rows: tuple) -> Path:
    """Add a run to the lake."""
    return write(
        tmp_path / f"data/lake/purchases/region=us/as_of=2024-01-01T00-00-00Z/{run}/part-0.parquet",
        history(*rows),
    )


def test_life_of_a_view(store: FeatureStore, tmp_path: Path) -> None:
    lake = source(LAKE, allow_empty=True)
    store.apply([CUSTOMER, view(lake)])
    refs = ["purchases:indices", "purchases:values", "purchases:score"]
    spine = entities(("b", 5), ("a", 5), ("c", 5), ("a", 1)).to_pandas()

    before = store.get_historical_features(spine, refs).to_arrow()
    assert before.column("score").null_count == 4
    assert before.schema.field("indices").type == pa.list_(pa.int32())
    assert before.schema.field("event_timestamp").type == pa.timestamp("us", "UTC")
    store.materialize(hour(0), hour(9))

    build(tmp_path, "run=1", ("a", 1, 1, 10, [1, 2]), ("a", 4, 4, 11, [3]), ("b", 4, 4, 12, []))
    build(tmp_path, "_run=3.unfinished", ("a", 5, 5, 666, [9]))
    after = store.get_historical_features(spine, refs).to_df()
    assert after["score"].tolist()[:2] == [12, 11]
    assert pd.isna(after["score"][2])
    assert after["score"][3] == 10
    assert list(after["indices"][1]) == [3]

    store.materialize(hour(0), hour(9))
    rows = [{"customer_id": "a"}, {"customer_id": "b"}, {"customer_id": "c"}]
    online = store.get_online_features(refs, rows).to_dict()
    assert online["score"] == [11, 12, None]
    assert online["indices"] == [[3], [], None]
    assert online["values"] == [[0.5], [0.5], None]

    build(tmp_path, "run=2", ("a", 4, 8, 21, [4, 5]), ("c", 20, 20, 22, [6]))
    rebuilt = store.get_historical_features(spine, refs).to_df()
    assert rebuilt["score"][1] == 21  # a rebuild's later creation wins
    known = store.get_historical_features(spine, refs, filter_by_created_timestamp=True).to_df()
    assert known["score"][1] == 11  # …except for who asks what was known then
    store.materialize_incremental(hour(24))
    online = store.get_online_features(refs, rows).to_dict()
    assert online["score"] == [11, 12, 22]
    assert str(tmp_path) not in (tmp_path / "repo/state/deep/registry.pb").read_bytes().decode("latin-1")


def test_entityless_view_goes_online(store: FeatureStore, tmp_path: Path) -> None:
    write(tmp_path / "data/totals/0.parquet", history(("x", 1, 1, 5), ("y", 3, 3, 7)))
    totals = view(source("totals"), "totals", entities=[], schema=[Field(name="score", dtype=Int64)])
    store.apply([totals])
    spine = pd.DataFrame({"event_timestamp": [hour(2), hour(9), hour(0)]})
    got = store.get_historical_features(spine, ["totals:score"]).to_arrow()
    assert got.column("score").to_pylist() == [5, 7, None]
    store.materialize(hour(0), hour(9))
    assert store.get_online_features(["totals:score"], [{"__dummy_id": ""}]).to_dict()["score"] == [7]


@pytest.mark.filterwarnings("ignore:On demand feature view is an experimental feature:RuntimeWarning")
def test_on_demand_features(store: FeatureStore, tmp_path: Path) -> None:
    build(tmp_path, "run=1", ("a", 1, 1, 10))
    purchases = view(source(LAKE))

    @on_demand_feature_view(sources=[purchases], schema=[Field(name="double", dtype=Int64)])
    def doubled(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"double": inputs["score"] * 2})

    store.apply([CUSTOMER, purchases, doubled])
    job = store.get_historical_features(entities(("a", 2)).to_pandas(), ["purchases:score", "doubled:double"])
    assert isinstance(job, DuckDBRetrievalJob)
    assert job.to_df()["double"].tolist() == [20]
    assert next(job.to_record_batches()).column("double").to_pylist() == [20]


@pytest.mark.parametrize(
    "storage",
    [
        SavedDatasetDuckDBStorage(path="saved/set"),
        SavedDatasetDuckDBStorage(path="saved/set.parquet"),
        SavedDatasetDuckDBStorage(table="saved", database="saved/sets.duckdb"),
        SavedDatasetFileStorage(path="saved.parquet"),
    ],
    ids=["directory", "file", "table", "feast"],
)
@pytest.mark.filterwarnings("ignore:Saving dataset is an experimental feature:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:Retrieving datasets is an experimental feature:RuntimeWarning")
def test_saved_dataset(store: FeatureStore, tmp_path: Path, storage: SavedDatasetDuckDBStorage) -> None:
    build(tmp_path, "run=1", ("a", 1, 1, 10), ("b", 2, 2, 20))
    store.apply([CUSTOMER, view(source(LAKE))])
    job = store.get_historical_features(entities(("b", 5), ("a", 5)).to_pandas(), ["purchases:score"])
    saved = store.create_saved_dataset(job, "set", storage)
    assert sorted(saved.to_df()["score"]) == [10, 20]
    assert sorted(store.get_saved_dataset("set").to_arrow().column("score").to_pylist()) == [10, 20]
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        job.persist(storage)
    job.persist(storage, allow_overwrite=True)
    assert store.get_saved_dataset("set").to_arrow().num_rows == 2


@pytest.mark.parametrize(
    "destination",
    [
        FileLoggingDestination(path="logs"),
        FileLoggingDestination(path="logs", partition_by=["customer_id"]),
        DuckDBLoggingDestination(path="logs"),
        DuckDBLoggingDestination(table="logs", database="logs.duckdb"),
    ],
    ids=["file", "partitioned", "directory", "table"],
)
def test_feature_logs(store: FeatureStore, tmp_path: Path, destination: LoggingDestination) -> None:
    build(tmp_path, "run=1", ("a", 1, 1, 10))
    purchases = view(source(LAKE), schema=[Field(name="score", dtype=Int64)])
    service = FeatureService(name="serving", features=[purchases], logging_config=LoggingConfig(destination))
    store.apply([CUSTOMER, purchases, service])
    logs = pa.table(
        {
            "customer_id": ["a", "b"],
            "purchases__score": pa.array([1, 2], pa.int64()),
            "purchases__score__timestamp": pa.array([hour(1), hour(1)], pa.timestamp("us", "UTC")),
            "purchases__score__status": pa.array([2, 2], pa.int32()),
            "__log_timestamp": pa.array([hour(1), hour(2)], pa.timestamp("us", "UTC")),
            "__log_date": pa.array([hour(1).date(), hour(2).date()], pa.date32()),
            "__request_id": ["r1", "r2"],
        }
    )
    store.write_logged_features(logs, service)
    pq.write_table(logs, write(tmp_path / "flushed/0.parquet", logs))
    store.write_logged_features(tmp_path / "flushed", service)
    job = store._get_provider().retrieve_feature_service_logs(service, hour(0), hour(1.5), store.config, store.registry)
    assert job.to_arrow().column("purchases__score").to_pylist() == [1, 1]
    again = LoggingConfig.from_proto(store.get_feature_service("serving").logging_config.to_proto())
    assert vars(again.destination) == vars(destination)


def test_export_to_remote_storage(store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path, "run=1", ("a", 1, 1, 10), ("b", 2, 2, 20))
    store.apply([CUSTOMER, view(source(LAKE))])
    spine = entities(*[("b", 5), ("a", 5)] * 3_000).to_pandas()
    job = store.get_historical_features(spine, ["purchases:score"])
    assert not job.supports_remote_storage_export()
    with pytest.raises(UnsupportedWriteError, match="staging_location"):
        job.to_remote_storage()
    monkeypatch.setattr(store.config.offline_store, "staging_location", "staging")
    monkeypatch.setattr(writes, "_ROWS_PER_EXPORTED_FILE", 2_000)
    job = store.get_historical_features(spine, ["purchases:score"])
    monkeypatch.setattr(job, "to_arrow_reader", partial(job.to_arrow_reader, 2_048))
    assert job.supports_remote_storage_export()
    files = job.to_remote_storage()
    assert len(files) == 3
    assert all(Path(file).is_relative_to(tmp_path / "data/staging") for file in files)
    assert pa.concat_tables(map(pq.read_table, files)).column("score").to_pylist() == [20, 10] * 3_000


def test_push_to_offline_store(store: FeatureStore, tmp_path: Path) -> None:
    directory = tmp_path / "data/pushed"
    first = write(directory / "0.parquet", history(("a", 1, 1, 10)))
    content = first.read_bytes()
    store.apply([CUSTOMER, view(source("pushed"))])
    store.write_to_offline_store("purchases", history(("a", 2, 2, 11)).to_pandas().iloc[:, ::-1])
    assert first.read_bytes() == content
    assert len(list(directory.iterdir())) == 2
    got = store.get_historical_features(entities(("a", 3)).to_pandas(), ["purchases:score"]).to_arrow()
    assert got.column("score").to_pylist() == [11]
    assert pq.read_schema(max(directory.iterdir())).field("event_timestamp").type == pa.timestamp("us", "UTC")


def test_schema_is_inferred(store: FeatureStore, tmp_path: Path) -> None:
    build(tmp_path, "run=1", ("a", 1, 1, 10))
    inferred = FeatureView(name="inferred", entities=[CUSTOMER], ttl=timedelta(0), source=source(LAKE))
    store.apply([CUSTOMER, inferred])
    fields = {field.name: str(field.dtype) for field in store.get_feature_view("inferred").features}
    assert fields == {"indices": "Array(Int32)", "values": "Array(Float32)", "score": "Int64"}


def test_command_line(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    repo.mkdir()
    (repo / "feature_store.yaml").write_text(YAML.format(pull_latest="true"))
    (repo / "definitions.py").write_text(DEFINITIONS)
    command = [sys.executable, "-m", "feast.cli.cli", "-c", str(repo), "apply"]
    environment = {**os.environ, "FEAST_USAGE": "False"}
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert (repo / "state/deep/registry.pb").exists()
    (repo / "definitions.py").write_text(DEFINITIONS.replace(", allow_empty=True", ""))
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode != 0
    assert "matches no file" in run.stdout + run.stderr
