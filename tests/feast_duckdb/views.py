"""Small repositories for the tests: sources, views and a store without an applied registry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureView, Field, RepoConfig, ValueType
from feast.types import Array, Float32, Int32, Int64, String

from propensity.feast_duckdb import DuckDBOfflineStore, DuckDBRetrievalJob, DuckDBSource

START = datetime(2024, 1, 1, tzinfo=UTC)
CUSTOMER = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
UTC_US = pa.timestamp("us", "UTC")
HISTORY = pa.schema(
    [
        ("customer_id", pa.string()),
        ("event_timestamp", UTC_US),
        ("created_timestamp", UTC_US),
        ("indices", pa.list_(pa.int32())),
        ("values", pa.list_(pa.float32())),
        ("score", pa.int64()),
    ]
)
FIELDS = [
    Field(name="customer_id", dtype=String),
    Field(name="indices", dtype=Array(Int32)),
    Field(name="values", dtype=Array(Float32)),
    Field(name="score", dtype=Int64),
]


def hour(hours: float) -> datetime:
    """Give START plus hours."""
    return START + timedelta(hours=hours)


def history(*rows: tuple[Any, ...]) -> pa.Table:
    """Make rows of HISTORY from (customer, event hour, created hour, score[, indices])."""
    return pa.Table.from_pylist(
        [
            {
                "customer_id": customer,
                "event_timestamp": None if event is None else hour(event),
                "created_timestamp": None if created is None else hour(created),
                "indices": rest[0] if rest else [score or 0],
                "values": [0.5] * len(rest[0] if rest and rest[0] else [0]),
                "score": score,
            }
            for customer, event, created, score, *rest in rows
        ],
        schema=HISTORY,
    )


def write(path: Path, rows: pa.Table) -> Path:
    """Write one Parquet file and its directories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, path)
    return path


def config(repo: Path, **offline: Any) -> RepoConfig:
    """Make a Feast configuration with this store."""
    return RepoConfig(
        project="test",
        provider="local",
        registry=str(repo / "registry.pb"),
        repo_path=repo,
        entity_key_serialization_version=3,
        offline_store={"type": "propensity.feast_duckdb.DuckDBOfflineStore", **offline},
    )


def view(source: DuckDBSource, name: str = "purchases", **options: Any) -> FeatureView:
    """Make a view of HISTORY rows."""
    options.setdefault("entities", [CUSTOMER])
    options.setdefault("schema", FIELDS)
    options.setdefault("ttl", timedelta(0))
    return FeatureView(name=name, source=source, **options)


def source(path: str = "purchases", **options: Any) -> DuckDBSource:
    """Make a source of HISTORY rows."""
    options.setdefault("timestamp_field", "event_timestamp")
    options.setdefault("created_timestamp_column", "created_timestamp")
    if "table" not in options and "query" not in options:
        options["path"] = path
    return DuckDBSource(**options)


def retrieve(
    repo: Path,
    views: list[FeatureView],
    refs: list[str],
    entity_df: Any,
    *,
    offline: dict[str, Any] | None = None,
    **options: Any,
) -> DuckDBRetrievalJob:
    """Ask the store directly, without applying anything."""
    registry: Any = SimpleNamespace(list_on_demand_feature_views=lambda *_, **__: [])
    return DuckDBOfflineStore.get_historical_features(
        config(repo, **(offline or {})), views, refs, entity_df, registry, "test", **options
    )


def entities(*rows: tuple[Any, ...], **columns: Any) -> pa.Table:
    """Make an entity table from (customer, hour)."""
    table = {
        "customer_id": pa.array([customer for customer, _ in rows], pa.string()),
        "event_timestamp": pa.array([None if at is None else hour(at) for _, at in rows], UTC_US),
    }
    return pa.table({**table, **columns})
