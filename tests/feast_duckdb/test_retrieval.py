"""The edges of historical retrieval, one by one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from feast import Entity, Field, FileSource, PushSource, RequestSource, ValueType
from feast.errors import EntityTimestampInferenceException, FeastEntityDFMissingColumnsError
from feast.types import Int64, String
from scipy.sparse import csr_matrix

from propensity.feast_duckdb import (
    EntityFrameError,
    MissingColumnError,
    SourceNotFoundError,
    UnsupportedSourceError,
    retrieval,
)

from .views import CUSTOMER, UTC_US, entities, history, hour, retrieve, source, view, write

ROWS = (("a", 1, 1, 10), ("a", 4, 4, 11), ("b", 2, 2, 20))


def scores(repo: Path, entity_df: object, **options: object) -> list:
    """Retrieve one view's score."""
    ttl = options.pop("ttl", timedelta(0))
    return (
        retrieve(repo, [view(source(), ttl=ttl)], ["purchases:score"], entity_df, **options)
        .to_arrow()
        .column("score")
        .to_pylist()
    )


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    write(tmp_path / "purchases/0.parquet", history(*ROWS))
    return tmp_path


def test_ttl_includes_its_last_instant(repo: Path) -> None:
    spine = pa.table(
        {
            "customer_id": ["a", "a"],
            "event_timestamp": pa.array([hour(6), hour(6) + timedelta(microseconds=1)], UTC_US),
        }
    )
    assert scores(repo, spine, ttl=timedelta(hours=2)) == [11, None]
    assert scores(repo, spine, ttl=None) == [11, 11]
    assert scores(repo, spine, ttl=timedelta(days=999_999_999)) == [11, 11]


def test_rows_keep_their_order_and_duplicates(repo: Path) -> None:
    rng = np.random.default_rng(0)
    customers = rng.choice(["a", "b", "c"], 5_000)
    spine = pd.DataFrame({"customer_id": customers, "event_timestamp": [hour(5)] * 5_000, "row": range(5_000)})
    got = retrieve(repo, [view(source())], ["purchases:score"], spine).to_arrow()
    assert got.column("row").to_pylist() == list(range(5_000))
    expected = [{"a": 11, "b": 20, "c": None}[customer] for customer in customers]
    assert got.column("score").to_pylist() == expected


@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
@pytest.mark.parametrize("unit", ["ns", "us", "s"])
def test_entity_times(repo: Path, zone: str | None, unit: str) -> None:
    times = pd.Series(pd.to_datetime([hour(4), hour(3)])).dt.tz_convert(zone or "UTC")
    times = (times if zone else times.dt.tz_localize(None)).dt.as_unit(unit)
    spine = pd.DataFrame({"customer_id": ["a", "a"], "event_timestamp": times})
    before = spine.copy(deep=True)
    got = retrieve(repo, [view(source())], ["purchases:score"], spine).to_arrow()
    assert got.column("score").to_pylist() == [11, 10]
    assert got.column("event_timestamp").to_pylist() == [hour(4), hour(3)]
    assert got.schema.field("event_timestamp").type == UTC_US
    pd.testing.assert_frame_equal(spine, before)


@pytest.mark.parametrize(
    "times", [["2024-01-01T04:00:00Z", "2024-01-01 03:00:00"], [hour(4), hour(3).replace(tzinfo=None)]]
)
def test_entity_times_as_objects(repo: Path, times: list) -> None:
    spine = pd.DataFrame({"customer_id": ["a", "a"], "event_timestamp": pd.Series(times, dtype=object)})
    assert scores(repo, spine) == [11, 10]


def test_entity_frame_without_event_timestamp(repo: Path) -> None:
    spine = pd.DataFrame({"customer_id": ["a"], "seen": [hour(4)]})
    assert scores(repo, spine) == [11]
    with pytest.raises(EntityTimestampInferenceException):
        scores(repo, spine.assign(other=hour(5)))
    with pytest.raises(FeastEntityDFMissingColumnsError, match="customer_id"):
        scores(repo, spine.drop(columns="customer_id"))
    with pytest.raises(EntityFrameError, match="can't be read as time"):
        scores(repo, pd.DataFrame({"customer_id": ["a"], "event_timestamp": ["yesterday"]}))
    with pytest.raises(EntityFrameError, match="not int"):
        scores(repo, 7)
    with pytest.raises(EntityFrameError, match="BIGINT in the entity frame and VARCHAR"):
        scores(repo, pd.DataFrame({"customer_id": [1], "event_timestamp": [hour(4)]}))
    assert scores(repo, pd.DataFrame({"customer_id": [None], "event_timestamp": [hour(4)]})) == [None]


def test_entity_frame_without_rows(repo: Path) -> None:
    got = retrieve(repo, [view(source())], ["purchases:indices"], entities())
    assert got.to_arrow().num_rows == 0
    assert list(got.to_record_batches()) == []
    assert got.to_arrow_reader().read_all().schema.field("indices").type == pa.list_(pa.int32())


def test_no_name_is_reserved(tmp_path: Path) -> None:
    names = ["rn", "x_y", "pos", "event_us", "row_id", "rowid", "e0", "f0", "k0", "src", "spine", "file_row_number",
             "file_index", "filename", "Value", "__x", "entity_row_id", "select", 'quo"te', "a b", "rank"]  # fmt: skip
    columns = {name: pa.array([index]) for index, name in enumerate(names)}
    rows = history(("a", 1, 1, 0)).select(["customer_id", "event_timestamp"])
    for name, column in columns.items():
        rows = rows.append_column(name, column)
    write(tmp_path / "odd/0.parquet", rows)
    fields = [Field(name="customer_id", dtype=String), *(Field(name=name, dtype=Int64) for name in names)]
    odd = view(source("odd", created_timestamp_column=""), "odd", schema=fields)
    refs = [f"odd:{name}" for name in names]
    got = retrieve(tmp_path, [odd], refs, entities(("a", 2), value=pa.array([7]))).to_arrow()
    assert got.column_names == ["customer_id", "event_timestamp", "value", *names]
    assert [got.column(name).to_pylist() for name in names] == [[index] for index in range(len(names))]
    extra = {name: pa.array([7]) for name in names}
    got = retrieve(tmp_path, [odd], refs, entities(("a", 2), **extra), full_feature_names=True).to_arrow()
    assert [got.column(f"odd__{name}").to_pylist() for name in names] == [[index] for index in range(len(names))]
    with pytest.raises(EntityFrameError, match="full_feature_names=True"):
        retrieve(tmp_path, [odd], refs, entities(("a", 2), **extra)).to_arrow()


def test_working_directory_does_not_matter(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoy = tmp_path / "decoy"
    write(decoy / "purchases/0.parquet", history(("a", 4, 4, 666)))
    monkeypatch.chdir(decoy)
    assert scores(repo, entities(("a", 4))) == [11]
    (repo / "feast").mkdir()
    assert scores(repo / "feast", entities(("a", 4)), offline={"base_path": ".."}) == [11]
    assert scores(repo / "feast", entities(("a", 4)), offline={"base_path": str(repo)}) == [11]
    file = FileSource(path="purchases", timestamp_field="event_timestamp")
    job = retrieve(repo, [view(file)], ["purchases:score"], entities(("a", 4)), offline={"base_path": "feast"})
    assert job.to_arrow().column("score").to_pylist() == [11]
    assert [entry.name for entry in decoy.iterdir()] == ["purchases"]


def test_links_and_wildcards(repo: Path) -> None:
    write(repo / "odd [dir]/region=us/x.parquet", history(("a", 5, 5, 50)))
    (repo / "link").symlink_to(repo / "odd [dir]")
    for path in (
        "link",
        "link/*/x.parquet",
        "odd [[]dir]/**/*.parquet",
        str(repo / "link/region=us/x.parquet"),
    ):
        job = retrieve(repo, [view(source(path))], ["purchases:score"], entities(("a", 5)))
        assert job.to_arrow().column("score").to_pylist() == [50], path


def test_file_column_wins_over_directory(tmp_path: Path) -> None:
    labels = history(("a", 9, 9, 1)).append_column("as_of", pa.array([hour(1)], UTC_US))
    write(tmp_path / "labels/region=us/as_of=2017-11-01T04-00-00Z/run=1/0.parquet", labels)
    fields = [Field(name="customer_id", dtype=String), Field(name="as_of", dtype=Int64)]
    path = "labels/region=us/*/*/*.parquet"
    job = retrieve(tmp_path, [view(source(path), schema=fields)], ["purchases:as_of"], entities(("a", 9)))
    assert job.to_arrow().column("as_of").to_pylist() == [hour(1)]


def test_hive_partitions_when_asked_for(repo: Path) -> None:
    write(repo / "lake/region=us/run=1/0.parquet", history(*ROWS))
    fields = [Field(name="customer_id", dtype=String), Field(name="region", dtype=String)]
    regional = view(source("lake", hive_partitioning=True), schema=fields)
    job = retrieve(repo, [regional], ["purchases:region"], entities(("a", 9), ("c", 9)))
    assert job.to_arrow().column("region").to_pylist() == ["us", None]
    write(repo / "lake/score=3/run=1/0.parquet", history(*ROWS))
    with pytest.raises(ValueError, match="both a column of the files and a partition directory"):
        retrieve(
            repo,
            [view(source("lake/score=*/**/*.parquet", hive_partitioning=True))],
            ["purchases:score"],
            entities(("a", 9)),
        ).to_arrow()


def test_files_of_different_age(repo: Path) -> None:
    write(repo / "purchases/1.parquet", history(("a", 6, 6, 12)).append_column("new", pa.array([5])))
    fields = [Field(name="customer_id", dtype=String), Field(name="new", dtype=Int64)]
    job = retrieve(repo, [view(source(), schema=fields)], ["purchases:new"], entities(("a", 5), ("a", 6)))
    assert job.to_arrow().column("new").to_pylist() == [None, 5]


def test_missing_things_are_named(repo: Path) -> None:
    with pytest.raises(SourceNotFoundError, match=r"'nowhere/\*.parquet' matches no file"):
        retrieve(repo, [view(source("nowhere/*.parquet"))], ["purchases:score"], entities(("a", 1))).to_arrow()
    fields = [Field(name="customer_id", dtype=String), Field(name="absent", dtype=Int64)]
    with pytest.raises(
        MissingColumnError, match=r"'purchases' has no column 'absent'.*'purchases'.*Existing columns: cust"
    ):
        retrieve(repo, [view(source(), schema=fields)], ["purchases:absent"], entities(("a", 1))).to_arrow()


def test_source_without_files_gives_typed_nulls(repo: Path) -> None:
    write(repo / "other/0.parquet", history(*ROWS))
    views = [view(source("none/*.parquet", allow_empty=True)), view(source("other"), "other")]
    refs = ["purchases:values", "other:score"]
    got = retrieve(repo, views, refs, entities(("a", 4), ("b", 4))).to_arrow()
    assert got.column("values").to_pylist() == [None, None]
    assert got.schema.field("values").type == pa.list_(pa.float32())
    assert got.column("score").to_pylist() == [11, 20]


def test_mappings(tmp_path: Path) -> None:
    names = ["cust", "ts", "written", "idx", "vals", "points"]
    write(tmp_path / "purchases/0.parquet", history(*ROWS, ("a", 4, 6, 12)).rename_columns(names))
    mapping = {
        "cust": "customer_id",
        "ts": "event_timestamp",
        "written": "created_timestamp",
        "points": "score",
    }
    mapped = view(
        source(field_mapping=mapping),
        schema=[Field(name="customer_id", dtype=String), Field(name="score", dtype=Int64)],
    )
    buyer = mapped.with_join_key_map({"customer_id": "buyer"}).with_name("buyer")
    seller = mapped.with_join_key_map({"customer_id": "seller"}).with_name("seller")
    spine = pa.table({"buyer": ["a", "b"], "seller": ["b", "a"], "event_timestamp": pa.array([hour(5)] * 2, UTC_US)})
    job = retrieve(tmp_path, [buyer, seller], ["buyer:score", "seller:score"], spine, full_feature_names=True)
    got = job.to_arrow()
    assert got.column("buyer__score").to_pylist() == [12, 20]
    assert got.column("seller__score").to_pylist() == [20, 12]


def test_views_with_different_keys(repo: Path) -> None:
    product = Entity(name="product", join_keys=["product_id"], value_type=ValueType.INT64)
    pairs = history(*ROWS).append_column("product_id", pa.array([1, 2, 1], pa.int32()))
    write(repo / "pairs/0.parquet", pairs)
    fields = [
        Field(name="customer_id", dtype=String),
        Field(name="product_id", dtype=Int64),
        Field(name="score", dtype=Int64),
    ]
    views = [view(source()), view(source("pairs"), "pairs", entities=[CUSTOMER, product], schema=fields)]
    spine = entities(("a", 5), ("a", 5), ("b", 5), product_id=pa.array([1, 2, None], pa.int64()))
    got = retrieve(repo, views, ["purchases:score", "pairs:score"], spine, full_feature_names=True).to_arrow()
    assert got.column("purchases__score").to_pylist() == [11, 11, 20]
    assert got.column("pairs__score").to_pylist() == [10, 11, None]


@pytest.mark.parametrize(
    "kind", ["TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMPTZ", "DATE", "VARCHAR"]
)
@pytest.mark.parametrize("ttl", [None, timedelta(days=2)])
def test_source_time_types(tmp_path: Path, kind: str, ttl: timedelta | None) -> None:
    rows = "FROM (VALUES ('a', '2024-01-01', 1), ('a', '2024-01-03', 2)) AS given(customer_id, day, score)"
    path = tmp_path / "purchases.parquet"
    duckdb.connect().execute(
        "SET TimeZone = 'UTC'; "
        f"COPY (SELECT customer_id, score, CAST(day AS {kind}) AS event_timestamp {rows}) TO '{path}'"
    ).close()
    spine = entities(("a", 47.999), ("a", 48), ("a", 48 + 48), ("a", 48 + 48.001))
    days = view(
        source("purchases.parquet", created_timestamp_column=""),
        ttl=ttl,
        schema=[Field(name="customer_id", dtype=String), Field(name="score", dtype=Int64)],
    )
    for known in (True, False):
        got = retrieve(tmp_path, [days], ["purchases:score"], spine, filter_by_created_timestamp=known).to_arrow()
        assert got.column("score").to_pylist() == [1, 2, 2, 2 if ttl is None else None]


def test_sql_entities_and_tables(tmp_path: Path) -> None:
    with duckdb.connect(tmp_path / "shop.duckdb") as shop:
        shop.register("rows", history(*ROWS))
        shop.execute("CREATE SCHEMA facts; CREATE TABLE facts.purchases AS SELECT * FROM rows")
        shop.execute("CREATE VIEW recent AS SELECT *, 'x' AS filename FROM facts.purchases")
        shop.execute(
            "CREATE TABLE orders AS SELECT i AS place, ['a', 'b', 'c'][i % 3 + 1] AS customer_id, "
            "TIMESTAMPTZ '2024-01-01 05:00:00+00' AS event_timestamp FROM range(3000) AS t(i)"
        )
    with duckdb.connect(tmp_path / "other.duckdb") as other:
        other.register("rows", history(("c", 1, 1, 30)))
        other.execute("CREATE TABLE purchases AS SELECT * FROM rows")
    base = {"database": "shop.duckdb"}
    query = "SELECT *, 1 AS spine FROM facts.purchases;"
    sources = {
        "table": source(table="facts.purchases", **base),
        "view": source(table="recent", **base),
        "query": source(query=query, name="q", **base),
    }
    entity_query = "SELECT customer_id, event_timestamp, place FROM orders ORDER BY place DESC;"
    for name, made in sources.items():
        job = retrieve(tmp_path, [view(made)], ["purchases:score"], entity_query)
        got = job.to_arrow()
        assert got.column("place").to_pylist() == list(range(2999, -1, -1)), name
        assert got.column("score").to_pylist()[-3:] == [None, 20, 11], name
        assert job.metadata is not None
        assert (job.metadata.min_event_timestamp, job.metadata.keys) == (hour(5), ["customer_id", "place"])
    views = [
        view(sources["query"], "shop"),
        view(source(query="SELECT * FROM purchases", name="o", database="other.duckdb"), "other"),
    ]
    got = retrieve(
        tmp_path, views, ["shop:score", "other:score"], entities(("a", 5), ("c", 5)), full_feature_names=True
    ).to_arrow()
    assert got.column("shop__score").to_pylist() == [11, None]
    assert got.column("other__score").to_pylist() == [None, 30]


def test_date_range_without_entities(repo: Path) -> None:
    write(repo / "other/0.parquet", history(("b", 3, 3, 5), ("a", 0, 0, 6)))
    views = [view(source(), "one"), view(source("other"), "two")]
    job = retrieve(
        repo,
        views,
        ["one:score", "two:score"],
        None,
        full_feature_names=True,
        start_date=hour(1),
        end_date=hour(3),
    )
    assert [tuple(row.values()) for row in job.to_arrow().to_pylist()] == [
        (hour(1), "a", 10, None),
        (hour(2), "b", 20, None),
        (hour(3), "b", 20, 5),
    ]
    assert job.metadata is not None
    assert (job.metadata.min_event_timestamp, job.metadata.max_event_timestamp) == (hour(1), hour(3))
    nothing = [view(source("none", allow_empty=True))]
    assert retrieve(repo, nothing, ["purchases:score"], None, end_date=hour(3)).to_arrow().num_rows == 0


def test_streaming_gives_the_same_rows(repo: Path) -> None:
    spine = entities(*((customer, at) for at in range(2_000) for customer in ("a", "b", "c")))
    job = retrieve(repo, [view(source())], ["purchases:indices", "purchases:score"], spine)
    batches = list(job.to_record_batches(batch_rows=2_048))
    assert [batch.num_rows for batch in batches] == [2_048, 2_048, 1_904]
    assert pa.Table.from_batches(batches).equals(job.to_arrow().combine_chunks())
    assert job.to_arrow_reader(2_048).read_all().num_rows == 6_000
    assert job.to_df()["score"].notna().sum() == 3_997


def test_lists_are_not_copied_by_the_boundary(repo: Path) -> None:
    column = retrieve(repo, [view(source())], ["purchases:indices"], entities(("a", 5))).to_arrow().column("indices")
    assert column.type == pa.list_(pa.int32())
    assert column.chunk(0).values.to_pylist() == [11]


def test_many_threads_share_a_job(tmp_path: Path) -> None:
    with duckdb.connect(tmp_path / "shop.duckdb") as shop:
        shop.register("rows", history(*ROWS))
        shop.execute("CREATE TABLE purchases AS SELECT * FROM rows")
    made = view(source(table="purchases", database="shop.duckdb"))
    job = retrieve(tmp_path, [made], ["purchases:score"], entities(("a", 5), ("b", 1)), offline={"threads": 1})
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: job.to_arrow().column("score").to_pylist(), range(32)))
    assert results == [[11, None]] * 32


@pytest.mark.parametrize("few", [True, False])
def test_sql_runs_by_hand(repo: Path, few: bool) -> None:
    spine = entities(("b", 5), ("a", 5), ("a", None)) if few else "SELECT 'a' AS customer_id, now() AS event_timestamp"
    job = retrieve(repo, [view(source(), ttl=timedelta(days=99_999))], ["purchases:score", "purchases:indices"], spine)
    by_hand = duckdb.connect().execute(job.to_sql()).to_arrow_table()
    assert by_hand.column_names == ["customer_id", "event_timestamp", "score", "indices"]
    assert by_hand.column("score").to_pylist() == job.to_arrow().column("score").to_pylist()
    assert (
        "First create the entity rows, 2000"
        in retrieve(repo, [view(source())], ["purchases:score"], entities(*[("a", 1)] * 2_000)).to_sql()
    )


def test_scan_is_bounded_by_the_entity_times(repo: Path) -> None:
    job = retrieve(repo, [view(source(), ttl=timedelta(hours=1))], ["purchases:score"], entities(("a", 2), ("b", 3)))
    plans = []
    with duckdb.connect() as connection:
        for statement in job.to_sql().strip().rstrip(";").split(";\n\n"):
            if "read_parquet" in statement:
                select = statement[statement.index("SELECT") :]
                plans.append(str(connection.execute(f"EXPLAIN (FORMAT json) {select}").fetchall()))
            connection.execute(statement)
    candidates, located, fetched = plans
    assert "2024-01-01 01:00:00" in candidates  # the first entity row's time less the ttl
    assert "2024-01-01 03:00:00" in candidates
    for winners_only in (located, fetched):
        assert "event_timestamp" in winners_only[winners_only.index("Filters") :]  # between the first and last winner


def test_timeout(repo: Path) -> None:
    slow = source(
        query="SELECT 'a' AS customer_id, TIMESTAMPTZ '2024-01-01 01:00:00Z' AS event_timestamp, "
        "event_timestamp AS created_timestamp, count(*) AS score "
        "FROM range(100000) AS a, range(10000000) AS b WHERE a.range % 7 <> b.range % 11",
        name="slow",
    )
    with pytest.raises(TimeoutError, match=r"longer than 0\.2 s"):
        retrieve(repo, [view(slow)], ["purchases:score"], entities(("a", 4))).to_arrow(timeout=0.2)


def test_foreign_source_is_refused(repo: Path) -> None:
    pushed = view(PushSource(name="push", batch_source=source()))
    assert retrieve(repo, [pushed], ["purchases:score"], entities(("a", 4))).to_arrow().column("score").to_pylist() == [
        11
    ]
    pushed.batch_source = RequestSource(name="request", schema=[Field(name="x", dtype=Int64)])
    pushed.batch_source.field_mapping = {}
    with pytest.raises(UnsupportedSourceError, match="RequestSource 'request' can't be read"):
        retrieve(repo, [pushed], ["purchases:score"], entities(("a", 4))).to_arrow()


def test_many_rows_become_known_at_once(tmp_path: Path) -> None:
    rows = [("a", event, 50, event) for event in np.random.default_rng(1).permutation(50).tolist()]
    write(tmp_path / "purchases/0.parquet", history(*rows))
    assert scores(tmp_path, entities(("a", 49), ("a", 50)), filter_by_created_timestamp=True) == [None, 49]


def test_csr_from_the_result_without_a_copy(repo: Path) -> None:
    spine = entities(*[(customer, 5) for customer in "abab"] * 50_000)
    rows = retrieve(repo, [view(source())], ["purchases:indices", "purchases:values"], spine).to_arrow()
    indices, values = (rows.column(name).chunk(0) for name in ("indices", "values"))
    assert rows.column("indices").num_chunks == 1
    made = csr_matrix(
        (values.values.to_numpy(), indices.values.to_numpy(), indices.offsets.to_numpy()), shape=(rows.num_rows, 100)
    )
    assert made.data.ctypes.data == values.values.buffers()[1].address
    assert made.indices.ctypes.data == indices.values.buffers()[1].address
    assert made.nnz == len(indices.values) > 0


def test_lists_beyond_32_bit_offsets_take_smaller_chunks() -> None:
    class Result:
        """Refuses the first two batch sizes, as DuckDB refuses lists of more than 2**31 elements."""

        def to_arrow_table(self, batch_rows: int) -> pa.Table:
            if batch_rows > 1 << 11:
                raise duckdb.InvalidInputException("Arrow Appender: The maximum combined list offset is 2147483647")
            return pa.table({"batch_rows": [batch_rows]})

        def execute(self, query: str) -> Result:
            assert query == "SELECT 1"
            return self

    found: Any = Result()
    assert retrieval._table(found, "SELECT 1").column(0).to_pylist() == [1 << 11]
