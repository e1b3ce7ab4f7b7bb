"""Synthetic lakes for bench_offline_store.py: a Parquet file per snapshot of all customers, as nightly jobs write."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.data_source import DataSource
from feast.types import Array, Float32, Float64, Int32, String

UTC_US = pa.timestamp("us", "UTC")
START_US = int(np.datetime64("2024-01-01", "us").astype("int64"))
YEAR_US = 360 * 86_400 * 10**6
CUSTOMER = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
LISTS = [
    Field(name="customer_id", dtype=String),
    Field(name="indices", dtype=Array(Int32)),
    Field(name="values", dtype=Array(Float32)),
]


def customer_ids(numbers: Any) -> pa.Array:
    """Spell customer numbers as keys."""
    return pa.array([f"c{number:08d}" for number in numbers], pa.string())


def sparse_lists(rng: np.random.Generator, rows: int) -> tuple[pa.Array, pa.Array]:
    """Make sparse vectors of 20 to 79 elements: sorted indices below 200,000, and values."""
    lengths = rng.integers(20, 80, rows)
    offsets = np.zeros(rows + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    steps = rng.integers(1, 2_500, offsets[-1], dtype=np.int32)
    running = np.cumsum(steps, dtype=np.int64)
    before = np.repeat(running[offsets[:-1]] - steps[offsets[:-1]], lengths)
    indices = (running - before).astype(np.int32)
    values = rng.random(offsets[-1], dtype=np.float32)
    return pa.ListArray.from_arrays(offsets, indices), pa.ListArray.from_arrays(offsets, values)


def write_lake(directory: Path, customers: int, snapshots: int, *, sparse: bool = True, seed: int = 0) -> None:
    """Write customers × snapshots rows; each customer's event times are spread over their snapshot's span."""
    rng = np.random.default_rng(seed)
    directory.mkdir(parents=True)
    keys, span = customer_ids(range(customers)), YEAR_US // snapshots
    for snapshot in range(snapshots):
        event_us = START_US + snapshot * span + rng.integers(0, span, customers)
        columns = {
            "customer_id": keys,
            "event_timestamp": pa.array(event_us).cast(UTC_US),
            "created_timestamp": pa.array(event_us + 3_600 * 10**6).cast(UTC_US),
        }
        if sparse:
            columns["indices"], columns["values"] = sparse_lists(rng, customers)
        else:
            columns["score"] = pa.array(rng.random(customers))
        pq.write_table(pa.table(columns), directory / f"{snapshot:04d}.parquet")


def view(directory: Path, name: str, *, sparse: bool = True) -> FeatureView:
    """Define a view on a lake with Feast's own FileSource, which both stores read."""
    source = FileSource(
        name=name,
        path=str(directory / "*.parquet"),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )
    schema = LISTS if sparse else [LISTS[0], Field(name="score", dtype=Float64)]
    return FeatureView(name=name, entities=[CUSTOMER], ttl=timedelta(0), schema=schema, source=source)


def table_source(directory: Path, name: str) -> DataSource:
    """Define the source on what `load_table` makes."""
    from propensity.feast_duckdb import DuckDBSource  # noqa: PLC0415  (the stock store's process is without it)

    return DuckDBSource(
        name=name,
        table=name,
        database=str(directory / "lake.duckdb"),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )


def load_table(directory: Path, name: str) -> None:
    """Copy a lake's files, in order, to a table of the same name."""
    with duckdb.connect(str(directory / "lake.duckdb")) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"CREATE TABLE {name} AS SELECT * FROM read_parquet('{directory / name}/*.parquet')")


def spine(customers: int, rows: int, *, from_share: float) -> pd.DataFrame:
    """Draw entity rows: random customers at random instants of the year's last part, from `from_share` on."""
    rng = np.random.default_rng(1)
    instants = START_US + rng.integers(int(YEAR_US * from_share), YEAR_US, rows)
    return pd.DataFrame(
        {
            "customer_id": customer_ids(rng.integers(0, customers, rows)).to_pandas(),
            "event_timestamp": pd.to_datetime(instants, unit="us", utc=True),
        }
    )
