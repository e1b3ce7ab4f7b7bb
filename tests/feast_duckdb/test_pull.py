"""Reads by date range, against a loop in Python."""

from __future__ import annotations

import shutil
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from feast.data_source import DataSource
from hypothesis import given, settings
from hypothesis import strategies as st

from propensity.feast_duckdb import DuckDBOfflineStore, MissingColumnError

from .test_oracle import HOURS, ROWS, split
from .views import HISTORY, UTC_US, config, history, hour, source, write

COLUMNS = (["customer_id"], ["score", "indices"], "event_timestamp", "created_timestamp")


def pull(
    repo: Path,
    made: DataSource,
    start: datetime | None,
    end: datetime | None,
    *,
    latest: bool,
    columns: Any = COLUMNS,
) -> pa.Table:
    """Call the store as materialization does."""
    if latest:
        assert start is not None
        assert end is not None
        return DuckDBOfflineStore.pull_latest_from_table_or_query(config(repo), made, *columns, start, end).to_arrow()
    return DuckDBOfflineStore.pull_all_from_table_or_query(config(repo), made, *columns, start, end).to_arrow()


TIED_ROWS = st.lists(
    st.tuples(st.sampled_from(["a", None]), st.integers(0, 2), st.one_of(st.none(), HOURS), st.integers(0, 99)),
    min_size=2,
    max_size=8,
)


@pytest.mark.parametrize("kind", ["path", "query"])
@settings(max_examples=30, deadline=None)
@given(rows=st.one_of(TIED_ROWS, ROWS), start=st.integers(0, 2), length=st.integers(0, 8))
def test_pulls_equal_brute_force(kind: str, rows: Any, start: int, length: int) -> None:
    repo = Path(tempfile.mkdtemp())
    try:
        split(rows, repo / "rows")
        query = "SELECT * FROM read_parquet('{base_path}/rows/*.parquet')"
        made = source("rows") if kind == "path" else source(query=query, name="q")
        within = [row for row in rows if row[1] is not None and start <= row[1] <= start + length]
        everything = pull(repo, made, hour(start), hour(start + length), latest=False)
        newest = pull(repo, made, hour(start), hour(start + length), latest=True)
    finally:
        shutil.rmtree(repo)
    wanted = history(*within).select(everything.column_names).to_pylist()
    assert sorted(map(str, everything.to_pylist())) == sorted(map(str, wanted))
    best: dict[str, tuple[Any, ...]] = {}
    for place, row in enumerate(within):
        rank = (row[1], -1 if row[2] is None else row[2], place)
        if row[0] is not None and (row[0] not in best or rank > best[row[0]][0]):
            best[row[0]] = (rank, row)
    winners = history(*(row for _, row in best.values())).select(newest.column_names).to_pylist()
    assert sorted(map(str, newest.to_pylist())) == sorted(map(str, winners))


def test_columns_and_open_ranges(tmp_path: Path) -> None:
    write(tmp_path / "rows/0.parquet", history(("a", 1, 1, 1), ("a", 2, 2, 2), ("a", 3, 3, 3)))
    everything = pull(
        tmp_path,
        source("rows"),
        None,
        None,
        latest=False,
        columns=(["customer_id"], [], "event_timestamp", None),
    )
    assert sorted(everything.column_names) == sorted(HISTORY.names)
    assert everything.num_rows == 3
    assert pull(tmp_path, source("rows"), hour(2), None, latest=False).num_rows == 2
    assert pull(tmp_path, source("rows"), None, hour(2).replace(tzinfo=None), latest=False).num_rows == 2
    assert pull(tmp_path, source("rows"), hour(1) + timedelta(microseconds=1), hour(3), latest=False).num_rows == 2
    assert pull(tmp_path, source("rows"), hour(1), hour(2), latest=True).column_names == [
        "customer_id",
        "score",
        "indices",
        "event_timestamp",
        "created_timestamp",
    ]
    keyless = pull(
        tmp_path,
        source("rows"),
        hour(1),
        hour(2),
        latest=True,
        columns=([], ["score"], "event_timestamp", "created_timestamp"),
    )
    assert keyless.to_pylist() == [
        {"score": 2, "event_timestamp": hour(2), "created_timestamp": hour(2), "__dummy_id": ""}
    ]
    with pytest.raises(MissingColumnError, match="'absent'"):
        pull(
            tmp_path,
            source("rows"),
            hour(1),
            hour(2),
            latest=True,
            columns=(["absent"], ["score"], "event_timestamp", None),
        )


@pytest.mark.parametrize("latest", [True, False])
def test_source_without_files(tmp_path: Path, latest: bool) -> None:
    nothing = pull(tmp_path, source("none", allow_empty=True), hour(1), hour(2), latest=latest)
    assert nothing.num_rows == 0
    assert nothing.schema.field("event_timestamp").type == UTC_US


@pytest.mark.parametrize("latest", [True, False])
def test_query_within_a_database(tmp_path: Path, latest: bool) -> None:
    with duckdb.connect(tmp_path / "shop.duckdb") as shop:
        shop.register("rows", history(("a", 1, 1, 1), ("a", 2, 2, 2)))
        shop.execute("CREATE TABLE purchases AS SELECT * FROM rows")
    made = source(query="SELECT * FROM purchases", name="q", database="shop.duckdb")
    assert pull(tmp_path, made, hour(1), hour(2), latest=latest).column("score").to_pylist() == (
        [2] if latest else [1, 2]
    )
