"""Types at the store's edges: DuckDB -> Arrow as users receive it, Arrow -> Feast, Feast -> DuckDB."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
from feast.type_map import pa_to_feast_value_type
from feast.types import from_feast_to_pyarrow_type
from feast.value_type import ValueType

UTC_MICROSECONDS = pa.timestamp("us", tz="UTC")

_EXTRA_VALUE_TYPES = {
    "date32": ValueType.UNIX_TIMESTAMP,
    "date64": ValueType.UNIX_TIMESTAMP,
    "halffloat": ValueType.FLOAT,
    "large_binary": ValueType.BYTES,
    "string_view": ValueType.STRING,
    "decimal128": ValueType.DECIMAL,
    "decimal256": ValueType.DECIMAL,
}

_DUCKDB_TYPES = {
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.uint8(): "UTINYINT",
    pa.uint16(): "USMALLINT",
    pa.uint32(): "UINTEGER",
    pa.uint64(): "UBIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.binary(): "BLOB",
    pa.date32(): "DATE",
}


def boundary_type(arrow_type: pa.DataType) -> pa.DataType:  # noqa: PLR0911  (one line a type)
    """Give the type under which a column leaves the store.

    Timestamps become `timestamp[us, UTC]`, at any depth; lists become plain `list<item>` with 32-bit offsets;
    dictionaries (DuckDB enums) become their values; columns without any value become text. The rest stays.
    """
    if pa.types.is_timestamp(arrow_type):
        return UTC_MICROSECONDS
    if pa.types.is_null(arrow_type):
        return pa.string()
    if pa.types.is_dictionary(arrow_type):
        return boundary_type(arrow_type.value_type)
    if pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type):
        return pa.list_(boundary_type(arrow_type.value_type))
    if pa.types.is_fixed_size_list(arrow_type):
        return pa.list_(boundary_type(arrow_type.value_type), arrow_type.list_size)
    if pa.types.is_struct(arrow_type):
        return pa.struct([pa.field(field.name, boundary_type(field.type)) for field in arrow_type])
    if pa.types.is_map(arrow_type):
        return pa.map_(boundary_type(arrow_type.key_type), boundary_type(arrow_type.item_type))
    return arrow_type


def boundary_schema(schema: pa.Schema, names: tuple[str, ...]) -> pa.Schema:
    """Apply `boundary_type` to each column and give the columns their final names, by position."""
    fields = zip(names, schema.types, strict=True)
    return pa.schema([pa.field(name, boundary_type(arrow_type)) for name, arrow_type in fields])


def conform(rows: pa.Table | pa.RecordBatch, schema: pa.Schema) -> pa.Table | pa.RecordBatch:
    """Cast each column to `schema`, by position.

    List values are not copied: the cast only renames the child field. Nanoseconds are cut to microseconds.
    """
    columns = [
        column if column.type == field.type else column.cast(field.type, safe=not _holds_times(field.type))
        for column, field in zip(rows.columns, schema, strict=True)
    ]
    return type(rows).from_arrays(columns, schema=schema)


def _holds_times(arrow_type: pa.DataType) -> bool:
    return "timestamp[" in str(arrow_type)


def value_type(arrow_type: str) -> ValueType:
    """Translate an Arrow type, written as text, to Feast's value type.

    Raises:
        KeyError: Feast has no such type.
    """
    if arrow_type.startswith("list<item: ") and arrow_type.endswith(">"):
        inner = arrow_type[len("list<item: ") : -1]
        if inner.startswith(("list<", "fixed_size_list<")):
            return ValueType.VALUE_LIST
        return ValueType[f"{value_type(inner).name}_LIST"]
    extra = _EXTRA_VALUE_TYPES.get(re.split(r"[(\[]", arrow_type, maxsplit=1)[0])
    return pa_to_feast_value_type(arrow_type) if extra is None else extra


def duckdb_type(feast_type: Any) -> str:
    """Translate a declared Feast type to a DuckDB type: `Array(Int32)` -> `INTEGER[]`."""
    return _duckdb_type(from_feast_to_pyarrow_type(feast_type))


def _duckdb_type(arrow_type: pa.DataType) -> str:
    if pa.types.is_timestamp(arrow_type):
        return "TIMESTAMPTZ"
    if pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type):
        return f"{_duckdb_type(arrow_type.value_type)}[]"
    if pa.types.is_map(arrow_type):
        return f"MAP({_duckdb_type(arrow_type.key_type)}, {_duckdb_type(arrow_type.item_type)})"
    return _DUCKDB_TYPES.get(arrow_type, "VARCHAR")
