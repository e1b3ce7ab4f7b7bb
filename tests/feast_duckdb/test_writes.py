"""Appending: new files and transactions; only a source of one file is rewritten."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FileSource

from propensity.feast_duckdb import DuckDBOfflineStore, UnsupportedWriteError, writes
from propensity.feast_duckdb.connection import SessionSettings

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


def feasts_own(path: str) -> FileSource:
    """Make Feast's source on one file, as definitions for its own stores have it."""
    times = {"timestamp_field": "event_timestamp", "created_timestamp_column": "created_timestamp"}
    return FileSource(name="purchases", path=path, **times)


@pytest.mark.parametrize("made", [feasts_own("rows.parquet"), source("rows.parquet")], ids=["feasts", "ours"])
def test_a_lone_file_keeps_its_types(tmp_path: Path, made: Any) -> None:
    frame = history(("a", 1, 1, 10), ("a", 2, 2, 20)).to_pandas()
    frame["event_timestamp"] = frame["event_timestamp"].dt.tz_localize(None).astype("datetime64[ns]")
    frame["note"] = [{"by": "x"}, {"by": "y"}]
    frame.to_parquet(tmp_path / "real.parquet")
    (tmp_path / "rows.parquet").symlink_to("real.parquet")
    before = pq.read_schema(tmp_path / "rows.parquet").remove_metadata()
    new = history(("b", 3, 3, 30)).append_column("note", pa.nulls(1))
    for _ in range(3):
        append(tmp_path, made, new.select(new.column_names[::-1]))
    assert (tmp_path / "rows.parquet").is_symlink()
    with pq.ParquetFile(tmp_path / "rows.parquet") as file:
        assert file.schema_arrow == before
        assert file.num_row_groups == 1
        rows = file.read()
    assert rows.column("score").to_pylist() == [10, 20, 30, 30, 30]
    assert rows.column("event_timestamp").to_pylist()[-1] == hour(3).replace(tzinfo=None)
    assert rows.column("note").to_pylist()[1:3] == [{"by": "y"}, None]
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["real.parquet", "rows.parquet"]


def test_a_lone_file_gets_every_row_from_many_writers(tmp_path: Path) -> None:
    pq.write_table(history(*(("a", at, at, at) for at in range(5))), tmp_path / "rows.parquet", row_group_size=2)
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(lambda at: append(tmp_path, feasts_own("rows.parquet"), history(("b", at, at, at))), range(5, 13))
        )
    scores = pq.read_table(tmp_path / "rows.parquet").column("score").to_pylist()
    assert scores[:5] == list(range(5))
    assert sorted(scores) == list(range(13))


@pytest.mark.parametrize("lone", [False, True])
def test_nulls_leave_a_columns_type_open(tmp_path: Path, lone: bool) -> None:
    made = feasts_own("rows/0.parquet") if lone else source("rows", allow_empty=True)
    nulls, notes = pa.nulls(1), pa.array([{"by": "x"}])
    for note in (nulls, nulls, notes, nulls):
        append(tmp_path, made, NEW.append_column("note", note))
    job = DuckDBOfflineStore.pull_all_from_table_or_query(
        config(tmp_path), made, ["customer_id"], ["note"], "event_timestamp", None
    )
    assert job.to_arrow().column("note").to_pylist() == [None, None, {"by": "x"}, None]
    with pytest.raises(UnsupportedWriteError, match="don't fit its types"):
        append(tmp_path, made, NEW.append_column("note", pa.array([1])))


def test_the_first_write_makes_a_lone_file(tmp_path: Path) -> None:
    append(tmp_path, feasts_own("new/rows.parquet"), NEW)
    assert pq.read_table(tmp_path / "new/rows.parquet").num_rows == 1


def test_refusals(tmp_path: Path) -> None:
    write(tmp_path / "rows/0.parquet", NEW)
    write(tmp_path / "lake/region=us/0.parquet", NEW.drop_columns(["score"]))
    for made, message in (
        (source("*/0.parquet"), "no certain place"),
        (source("rows/part-*.parquet"), "no certain place"),
        (source("lake", hive_partitioning=True), "hive-partitioned.*Write Parquet files into its column=value"),
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
    with pytest.raises(UnsupportedWriteError, match="each flush would rewrite"):
        writes.append_logs(SessionSettings.of(config(tmp_path)), source("rows/0.parquet"), NEW)
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
