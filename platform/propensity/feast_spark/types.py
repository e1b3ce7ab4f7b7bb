"""Types at the store's edges: Feast -> Spark SQL, Spark's Arrow -> Arrow as users receive it."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
from feast import Field
from feast.types import from_feast_to_pyarrow_type

UTC_MICROSECONDS = pa.timestamp("us", tz="UTC")

_SPARK_TYPES = {
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.bool_(): "boolean",
    pa.string(): "string",
    pa.binary(): "binary",
}


def spark_types(fields: Iterable[Field]) -> dict[str, str]:
    """Give Spark SQL's type of each field, by name: `Array(Int32)` -> `array<int>`.

    Raises:
        KeyError: Spark has no such type.
    """
    return {field.name: _spark_type(from_feast_to_pyarrow_type(field.dtype)) for field in fields}


def _spark_type(arrow_type: pa.DataType) -> str:
    if pa.types.is_timestamp(arrow_type):
        return "timestamp"
    if pa.types.is_list(arrow_type):
        return f"array<{_spark_type(arrow_type.value_type)}>"
    return _SPARK_TYPES[arrow_type]


def boundary_type(arrow_type: pa.DataType) -> pa.DataType:
    """Give the type under which a column leaves the store: `timestamp[us, UTC]`, plain `list<item>`."""
    if pa.types.is_timestamp(arrow_type):
        return UTC_MICROSECONDS
    if pa.types.is_list(arrow_type):
        return pa.list_(boundary_type(arrow_type.value_type))
    return arrow_type


def conform(rows: pa.Table | pa.RecordBatch) -> pa.Table | pa.RecordBatch:
    """Cast each column to its `boundary_type`; zoneless timestamps are UTC."""
    schema = pa.schema([pa.field(field.name, boundary_type(field.type)) for field in rows.schema])
    return rows if rows.schema.equals(schema) else rows.cast(schema)
