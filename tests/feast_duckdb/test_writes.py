"""Appending: new files and transactions, never a rewrite."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from propensity.feast_duckdb import DuckDBOfflineStore, UnsupportedWriteError

from .views import HISTORY, UTC_US, config, history, hour, source, view, write

NEW = history(("b", 2, 2, 20))


def append(repo: Path, made: Any, rows: pa.Table) -> int:
    """Append as FeatureStore.push and BatchFeatureView(offline=True) do."""
    written: list[int] = []
    DuckDBOfflineStore.offline_write_batch(config(repo), view(made), rows, written.append)
    return sum(written)


def test_directory_gets_new_files(tmp_path: Path) -> None:
    old = write(tmp_path / "rows/0.parquet", history(("a", 1, 1, 10)))
    before = (old.read_bytes(), old.stat().st_mtime_ns)
    assert append(tmp_path, source("rows"), NEW) == 1
    assert append(tmp_path, source("rows/*.parquet"), NEW.select(HISTORY.names[::-1])) == 1
    assert (old.read_bytes(), old.stat().st_mtime_ns) == before
    files = sorted((tmp_path / "rows").iterdir())
    assert len(files) == 3
    assert {pq.read_schema(file).field("event_timestamp").type for file in files} == {UTC_US}
    assert pq.read_table(tmp_path / "rows").num_rows == 3


def test_first_write_makes_the_directory(tmp_path: Path) -> None:
    append(tmp_path, source("new/rows", allow_empty=True), NEW)
    append(tmp_path, source("new/rows"), NEW)
    assert pq.read_table(tmp_path / "new/rows").num_rows == 2
    with pytest.raises(UnsupportedWriteError, match="lack its timestamp columns"):
        append(tmp_path, source("newer", allow_empty=True), NEW.drop_columns(["created_timestamp"]))


def test_nanoseconds_and_mapped_names(tmp_path: Path) -> None:
    names = ["customer_id", "event_timestamp", "created_timestamp", "indices", "values", "points"]
    write(tmp_path / "rows/0.parquet", NEW.rename_columns(names))
    frame = NEW.to_pandas().astype({"event_timestamp": "datetime64[ns, UTC]"})
    append(
        tmp_path,
        source("rows", field_mapping={"points": "score"}),
        pa.Table.from_pandas(frame, preserve_index=False),
    )
    newest = max((tmp_path / "rows").iterdir())
    assert pq.read_schema(newest).names == names
    assert pq.read_schema(newest).field("event_timestamp").type == UTC_US


def test_refusals(tmp_path: Path) -> None:
    write(tmp_path / "rows/0.parquet", NEW)
    write(tmp_path / "lake/region=us/0.parquet", NEW.drop_columns(["score"]))
    for made, message in (
        (source("rows/0.parquet"), "single file"),
        (source("*/0.parquet"), "no certain place"),
        (source("rows/part-*.parquet"), "no certain place"),
        (source("lake", hive_partitioning=True), "hive-partitioned"),
        (source("s3://bucket/rows/"), "no local path"),
        (source(query="SELECT 1", name="q"), "is a query"),
    ):
        with pytest.raises(UnsupportedWriteError, match=message):
            append(tmp_path, made, NEW)
    with pytest.raises(UnsupportedWriteError, match="but the source has"):
        append(tmp_path, source("rows"), NEW.drop_columns(["score"]))
    huge = NEW.set_column(3, "indices", pa.array([[2**40]]))
    with pytest.raises(UnsupportedWriteError, match="don't fit its types"):
        append(tmp_path, source("rows"), huge)
    assert len(list((tmp_path / "rows").iterdir())) == 1


def test_table_gets_every_row_from_many_writers(tmp_path: Path) -> None:
    with duckdb.connect(tmp_path / "shop.duckdb") as shop:
        shop.register("rows", history(("a", 1, 1, 10)))
        shop.execute("CREATE TABLE purchases AS SELECT * FROM rows")
    made = source(table="purchases", database="shop.duckdb")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda at: append(tmp_path, made, history(("b", at, at, at))), range(8)))
    with duckdb.connect(tmp_path / "shop.duckdb") as shop:
        assert shop.execute("SELECT count(*), count(DISTINCT score) FROM purchases").fetchall() == [(9, 9)]
        assert shop.execute("SELECT max(event_timestamp) FROM purchases").fetchall() == [(hour(7),)]
