"""DuckDBSource: definition, registry round trip, schema inference and validation."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from feast import Field, FileSource, RepoConfig, ValueType
from feast.data_format import DeltaFormat
from feast.data_source import DataSource
from feast.saved_dataset import SavedDatasetStorage
from feast.types import Float64

import propensity.feast_duckdb
from propensity.feast_duckdb import (
    DuckDBSource,
    MissingColumnError,
    SavedDatasetDuckDBStorage,
    SourceDefinitionError,
    SourceNotFoundError,
    UnsupportedSourceError,
)
from propensity.feast_duckdb.types import value_type

from .views import FIELDS, config, entities, history, retrieve, source, view, write


@pytest.mark.parametrize(
    "options",
    [
        {"path": "lake/region=us/*/*.parquet", "hive_partitioning": True, "allow_empty": True},
        {"table": "main.purchases", "database": "shop.duckdb"},
        {"query": "SELECT 1", "name": "one"},
        {"query": "SELECT 1", "name": "one", "database": "shop.duckdb"},
    ],
)
def test_registry_round_trip(options: dict[str, Any]) -> None:
    made = DuckDBSource(
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
        field_mapping={"raw": "mapped"},
        description="what",
        tags={"team": "x"},
        owner="me",
        **options,
    )
    read = DataSource.from_proto(made.to_proto())
    assert isinstance(read, DuckDBSource)
    assert read == made
    assert hash(read) == hash(made)
    assert read._options() == made._options()
    assert read != DuckDBSource(path="elsewhere", name=made.name)


@pytest.mark.parametrize("options", [{"path": "saved"}, {"table": "t", "database": "d.duckdb"}])
def test_storage_round_trip(options: dict[str, Any]) -> None:
    storage = SavedDatasetStorage.from_proto(SavedDatasetDuckDBStorage(**options).to_proto())
    assert isinstance(storage, SavedDatasetDuckDBStorage)
    again = SavedDatasetStorage.from_data_source(storage.to_data_source())
    assert {name: value for name, value in vars(again).items() if value is not None} == options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "x"}, "exactly one of path, table and query"),
        ({"path": "a", "table": "b", "database": "c"}, "exactly one"),
        ({"query": "SELECT 1"}, "needs a name"),
        ({"table": "t"}, "needs a database"),
        ({"table": "t", "database": "d", "allow_empty": True}, "are for path sources"),
        ({"path": "t", "database": "d"}, "a database means nothing"),
    ],
)
def test_contradictions_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceDefinitionError, match=message):
        DuckDBSource(**options)


def test_storage_contradictions_are_refused() -> None:
    for options in (
        {},
        {"table": "t"},
        {"path": "p", "database": "d"},
        {"path": "p", "table": "t", "database": "d"},
    ):
        with pytest.raises(SourceDefinitionError):
            SavedDatasetDuckDBStorage(**options)


def test_validation_names_what_is_missing(tmp_path: Path) -> None:
    write(tmp_path / "purchases/0.parquet", history(("a", 1, 1, 1)))
    settings = config(tmp_path)
    source().validate(settings)
    with pytest.raises(MissingColumnError, match=r"'purchases' has no column 'when' \(timestamp_field\)"):
        source(timestamp_field="when").validate(settings)
    with pytest.raises(MissingColumnError, match=r"'written' \(created_timestamp_column\)"):
        source(created_timestamp_column="written").validate(settings)
    with pytest.raises(MissingColumnError, match=r"'raw' \(timestamp_field\)"):
        source(timestamp_field="x", field_mapping={"raw": "x"}).validate(settings)
    source(field_mapping={"raw": "x"}).validate(settings)  # as Feast's own: one mapping may serve many tables
    with pytest.raises(SourceDefinitionError, match="has type BIGINT, which is no timestamp"):
        source(timestamp_field="score").validate(settings)
    with pytest.raises(SourceNotFoundError, match="'absent' matches no file under"):
        source("absent").validate(settings)
    source("absent", allow_empty=True).validate(settings)
    assert source("absent", allow_empty=True).get_table_column_names_and_types(settings) == []
    with pytest.raises(SourceNotFoundError, match=r"no DuckDB database at .*shop\.duckdb"):
        source(table="purchases", database="shop.duckdb").validate(settings)
    duckdb.connect(tmp_path / "shop.duckdb").close()
    with pytest.raises(SourceNotFoundError, match=r"'purchases' of 'shop\.duckdb' doesn't exist"):
        source(table="purchases", database="shop.duckdb").validate(settings)
    with pytest.raises(SourceDefinitionError, match="Query 'q' can't be run"):
        source(query="SELECT * FROM nowhere", name="q").validate(settings)


def test_relative_paths_need_a_repository() -> None:
    bare = RepoConfig(
        project="test",
        provider="local",
        registry="registry.pb",
        entity_key_serialization_version=3,
        offline_store={"type": "propensity.feast_duckdb.DuckDBOfflineStore"},
    )
    with pytest.raises(SourceDefinitionError, match="no repo_path"):
        source().validate(bare)


def test_inference_of_every_type(tmp_path: Path) -> None:
    selected = {
        "1::TINYINT": ValueType.INT32,
        "1::INTEGER": ValueType.INT32,
        "1::BIGINT": ValueType.INT64,
        "1::FLOAT": ValueType.FLOAT,
        "1::DOUBLE": ValueType.DOUBLE,
        "1::DECIMAL(9, 2)": ValueType.DECIMAL,
        "true": ValueType.BOOL,
        "'x'": ValueType.STRING,
        "'x'::ENUM('x')": ValueType.STRING,
        "uuid()": ValueType.STRING,
        "'x'::BLOB": ValueType.BYTES,
        "DATE '2024-01-01'": ValueType.UNIX_TIMESTAMP,
        "TIMESTAMP '2024-01-01'": ValueType.UNIX_TIMESTAMP,
        "TIMESTAMP_NS '2024-01-01'": ValueType.UNIX_TIMESTAMP,
        "TIMESTAMPTZ '2024-01-01'": ValueType.UNIX_TIMESTAMP,
        "[1::INTEGER]": ValueType.INT32_LIST,
        "[1::FLOAT]": ValueType.FLOAT_LIST,
        "['x']": ValueType.STRING_LIST,
        "[DATE '2024-01-01']": ValueType.UNIX_TIMESTAMP_LIST,
        "[TIMESTAMP '2024-01-01']": ValueType.UNIX_TIMESTAMP_LIST,
        "[1, 2]::FLOAT[2]": ValueType.FLOAT_LIST,
        "[[1]]": ValueType.VALUE_LIST,
        "{'a': 1}": ValueType.STRUCT,
        "MAP {'a': 'b'}": ValueType.MAP,
    }
    columns = ", ".join(f"{expression} AS c{index}" for index, expression in enumerate(selected))
    made = source(query=f"SELECT {columns}", name="types")
    inferred = made.get_table_column_names_and_types(config(tmp_path))
    translate = made.source_datatype_to_feast_value_type()
    assert [translate(kind) for _, kind in inferred] == list(selected.values())


def test_columns_without_any_value(tmp_path: Path) -> None:
    nulls = {"nothing": pa.nulls(1), "lists": pa.array([[None]]), "texts": pa.array([None], pa.string())}
    rows = history(("a", 1, 1, 1))
    for name, column in nulls.items():
        rows = rows.append_column(name, column)
    write(tmp_path / "purchases/0.parquet", rows)
    translate = source().source_datatype_to_feast_value_type()
    inferred = {name: translate(kind) for name, kind in source().get_table_column_names_and_types(config(tmp_path))}
    found = {name: inferred[name].name for name in nulls}
    assert found == {"nothing": "INT32", "lists": "INT32_LIST", "texts": "STRING"}
    query = source(query="SELECT NULL AS nothing, [NULL] AS lists", name="q")
    kinds = [translate(kind).name for _, kind in query.get_table_column_names_and_types(config(tmp_path))]
    assert kinds == ["INT32", "INT32_LIST"]
    feature = view(source(), schema=[*FIELDS, Field(name="nothing", dtype=Float64)])
    got = retrieve(tmp_path, [feature], ["purchases:nothing"], entities(("a", 2))).to_arrow()
    assert got.column("nothing").to_pylist() == [None]


def test_file_sources_beyond_parquet_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "p.parquet", history(("a", 1, 1, 1)))
    options = {"name": "far", "path": "p.parquet", "timestamp_field": "event_timestamp"}
    with pytest.raises(UnsupportedSourceError, match="'far' has the format DeltaFormat; this store reads Parquet"):
        retrieve(tmp_path, [view(FileSource(file_format=DeltaFormat(), **options))], ["purchases:score"],
                 entities(("a", 2))).to_arrow()  # fmt: skip
    with pytest.raises(UnsupportedSourceError, match=r"sets s3_endpoint_override.*CREATE PERSISTENT SECRET"):
        retrieve(tmp_path, [view(FileSource(s3_endpoint_override="http://localhost:9000", **options))],
                 ["purchases:score"], entities(("a", 2))).to_arrow()  # fmt: skip


def test_unknown_types_are_refused() -> None:
    with pytest.raises(KeyError):
        value_type("time64[us]")
    assert value_type(str(pa.list_(pa.float16()))) == ValueType.FLOAT_LIST


def test_query_string() -> None:
    assert source("it's").get_table_query_string() == "read_parquet('it''s')"
    assert source(table="main.t", database="d").get_table_query_string() == '"main"."t"'
    assert source(query="SELECT 1", name="q").get_table_query_string() == "(SELECT 1)"


def test_nothing_of_the_platform_is_imported_and_nothing_in_a_circle() -> None:
    package = Path(propensity.feast_duckdb.__file__).parent
    modules = list(package.glob("*.py"))
    assert len(modules) > 10
    imports: dict[str, set[str]] = {}
    for module in modules:
        imported = imports.setdefault(module.stem, set())
        for node in ast.walk(ast.parse(module.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names += [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                assert not name.startswith("propensity") or name.startswith("propensity.feast_duckdb."), module
                imported |= {part for part in name.split(".")[2:3] if name.startswith("propensity.feast_duckdb.")}
    order = list(graphlib.TopologicalSorter(imports).static_order())  # raises CycleError
    assert order.index("relation") < order.index("source") < order.index("__init__")
