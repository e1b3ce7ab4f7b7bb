"""The sqlite online store in which newer rows win, beside Feast's own."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from feast import Entity, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.infra.online_stores.sqlite import SqliteOnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import FloatList, Value
from feast.types import Array, Float32, Int32, Int64, String
from feast.utils import _convert_arrow_to_proto
from hypothesis import given, settings
from hypothesis import strategies as st

from propensity.feast_sqlite import NewestSqliteOnlineStore

START = datetime(2024, 3, 1, tzinfo=UTC)
CUSTOMER = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
VIEW = FeatureView(
    name="scores",
    entities=[CUSTOMER],
    ttl=timedelta(days=1),
    schema=[
        Field(name="customer_id", dtype=String),
        Field(name="version", dtype=String),
        Field(name="number", dtype=Int64),
        Field(name="values", dtype=Array(Float32)),
    ],
    source=FileSource(name="scores", path="scores.parquet", timestamp_field="t", created_timestamp_column="c"),
)


def config_of(directory, kind="propensity.feast_sqlite.NewestSqliteOnlineStore", **options):
    return RepoConfig(
        project="shop",
        provider="local",
        registry=str(directory / "registry.pb"),
        repo_path=directory,
        online_store={"type": kind, "path": str(directory / f"{kind}.db"), **options},
        entity_key_serialization_version=3,
    )


def opened(store, config):
    store.update(config, [], [VIEW], [], [CUSTOMER], partial=False)
    return store


def key(customer):
    return EntityKey(join_keys=["customer_id"], entity_values=[Value(string_val=customer)])


def row(customer, number, event, created):
    values = {
        "version": Value(string_val=f"v{number}"),
        "number": Value(int64_val=number),
        "values": Value(float_list_val=FloatList(val=[number / 7, 1.0])),
    }
    return key(customer), values, event, created


def stored(config):
    with sqlite3.connect(config.online_store.path) as connection:
        return connection.execute('SELECT * FROM "shop_scores" ORDER BY entity_key, feature_name').fetchall()


def test_the_tables_are_those_of_feasts_own_store(tmp_path):
    rows = [row(f"c{n}", n, START + timedelta(hours=n), START + timedelta(days=1, seconds=n)) for n in range(5)]
    rows.append((*row("naive", 9, START.replace(tzinfo=None), None)[:3], None))
    ours, stock = config_of(tmp_path), config_of(tmp_path, "feast.infra.online_stores.sqlite.SqliteOnlineStore")
    reported = []
    opened(NewestSqliteOnlineStore(), ours).online_write_batch(ours, VIEW, rows, reported.append)
    opened(SqliteOnlineStore(), stock).online_write_batch(stock, VIEW, rows, None)
    assert stored(ours) == stored(stock)
    assert len(stored(ours)) == 18
    assert sum(reported) == len(rows)
    # Either reads what the other has written.
    asked = [key("c3"), key("nobody")]
    other = config_of(tmp_path, "feast.infra.online_stores.sqlite.SqliteOnlineStore")
    other.online_store.path = ours.online_store.path
    assert SqliteOnlineStore().online_read(other, VIEW, asked) == NewestSqliteOnlineStore().online_read(
        ours, VIEW, asked
    )


INSTANTS = st.integers(0, 3).map(lambda hours: START + timedelta(hours=hours))
WRITES = st.lists(st.tuples(st.sampled_from("ab"), INSTANTS, st.none() | INSTANTS), max_size=12)


@given(writes=WRITES, batches=st.integers(1, 4))
@settings(max_examples=25)
def test_the_newest_row_stays_whatever_the_order(tmp_path_factory, writes, batches):
    config = config_of(tmp_path_factory.mktemp("store"))
    store = opened(NewestSqliteOnlineStore(), config)
    expected = {}
    rows = [row(customer, number, event, created) for number, (customer, event, created) in enumerate(writes)]
    for number, (customer, event, created) in enumerate(writes):
        age = (event, created or datetime.fromtimestamp(0, UTC))
        if customer not in expected or age >= expected[customer][0]:
            expected[customer] = (age, number, event)
    for start in range(0, len(rows), batches):
        store.online_write_batch(config, VIEW, rows[start : start + batches], None)
    for customer, (at, values) in zip("ab", store.online_read(config, VIEW, [key("a"), key("b")]), strict=True):
        if customer not in expected:
            assert (at, values) == (None, None)
        else:
            _, number, event = expected[customer]
            assert (at, values["number"].int64_val, values["version"].string_val) == (event, number, f"v{number}")


TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=140)
FLOATS = st.lists(st.floats(width=32, allow_nan=False), max_size=40)
INTS = st.lists(st.integers(0, 2**31 - 1) | st.integers(0, 300), max_size=40)
LIST_VIEW = FeatureView(
    name="scores",
    entities=[CUSTOMER],
    schema=[
        Field(name="customer_id", dtype=String),
        Field(name="version", dtype=String),
        Field(name="values", dtype=Array(Float32)),
        Field(name="places", dtype=Array(Int32)),
    ],
    source=VIEW.batch_source,
)


def in_both_ways(directory, view, batch):
    """What lies in the store after Feast's conversion, and after the store's own."""
    found = []
    for way in ("proto", "arrow"):
        (directory / way).mkdir()
        config = config_of(directory / way)
        store = NewestSqliteOnlineStore()
        store.update(config, [], [view], [], [CUSTOMER], partial=False)
        if way == "arrow":
            store.write_arrow(config, view, batch)
        else:
            rows = _convert_arrow_to_proto(batch, view, {"customer_id": ValueType.STRING})
            store.online_write_batch(config, view, rows, None)
        found.append(stored(config))
    return found


@given(
    rows=st.lists(
        st.tuples(st.text(max_size=9), TEXTS, st.none() | FLOATS, st.none() | INTS, INSTANTS, INSTANTS),
        min_size=1, max_size=8, unique_by=lambda row: row[0],
    ),
    cut=st.integers(0, 7),
)  # fmt: skip
@settings(max_examples=25)
def test_arrow_is_stored_as_feast_stores_it(tmp_path_factory, rows, cut):
    names = ["customer_id", "version", "values", "places", "t", "c"]
    kinds = [pa.string(), pa.string(), pa.list_(pa.float32()), pa.list_(pa.int32()), *[pa.timestamp("us", "UTC")] * 2]
    columns = [pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), kinds, strict=True)]
    batch = pa.RecordBatch.from_arrays(columns, names=names).slice(min(cut, len(rows) - 1))
    feast, ours = in_both_ways(tmp_path_factory.mktemp("ways"), LIST_VIEW, batch)
    assert ours == feast
    assert len(ours) == 3 * batch.num_rows


@pytest.mark.parametrize("odd", [[-1, 5], [2**31 - 1, -(2**31)]])
def test_what_arrow_can_hold_and_the_quick_way_cannot_is_stored_too(tmp_path, odd):
    batch = pa.RecordBatch.from_pydict(
        {
            "customer_id": ["a"], "version": ["v"], "values": pa.array([[1.5]], pa.list_(pa.float32())),
            "places": pa.array([odd], pa.list_(pa.int32())), "t": [START], "c": [START],
        }
    )  # fmt: skip
    feast, ours = in_both_ways(tmp_path, LIST_VIEW, batch)
    assert ours == feast
    # A view with a number: not one of the quick way's types.
    other = batch.drop_columns(["places"]).append_column("number", pa.array([7]))
    (tmp_path / "other").mkdir()
    feast, ours = in_both_ways(tmp_path / "other", VIEW, other)
    assert ours == feast
    assert len(ours) == 3


def test_a_batch_that_fails_leaves_nothing(tmp_path):
    config = config_of(tmp_path)
    store = opened(NewestSqliteOnlineStore(), config)
    with pytest.raises(AttributeError):
        store.online_write_batch(config, VIEW, [row("a", 1, START, START), ("no key", {"x": None}, START, START)], None)
    assert stored(config) == []
    store.online_write_batch(config, VIEW, [row("a", 1, START, START)], None)
    assert len(stored(config)) == 3


def test_who_reads_needn_t_wait_for_who_writes(tmp_path):
    config = config_of(tmp_path, busy_timeout_seconds=0)
    store = opened(NewestSqliteOnlineStore(), config)
    store.online_write_batch(config, VIEW, [row("a", 1, START, START)], None)
    with sqlite3.connect(config.online_store.path, isolation_level=None) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        writer.execute('DELETE FROM "shop_scores"')
        ((_, values),) = NewestSqliteOnlineStore().online_read(config, VIEW, [key("a")])
        assert values["number"].int64_val == 1
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            store.online_write_batch(config, VIEW, [row("a", 2, START, START)], None)
        writer.execute("ROLLBACK")
    writer.close()


def test_what_only_feasts_own_store_does_is_refused(tmp_path):
    for option in ("vector_enabled", "enable_openai_compatible_store"):
        with pytest.raises(ValueError, match="need Feast's own SqliteOnlineStore"):
            config_of(tmp_path, **{option: True}).online_store  # noqa: B018 - it is read lazily
