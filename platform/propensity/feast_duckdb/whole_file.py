"""Parquet files that appear whole, by a rename, and grow only by being replaced."""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from propensity.feast_duckdb import types
from propensity.feast_duckdb.registry_store import sync_directory

_ROWS_PER_GROUP = 122_880  # DuckDB's own, and its unit of parallel work


def write_whole(target: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    """Write a file from record batches; it takes its place, or replaces what is there, once it is whole."""
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(target.parent)


def lengthen(file: Path, rows: pa.Table) -> None:
    """Replace a Parquet file by one with more rows, in the types of the old one; readers see either."""
    file = Path(os.path.realpath(file))  # a link to the file stays a link
    file.parent.mkdir(parents=True, exist_ok=True)
    with _locked(file.parent):  # a second writer must start from the first one's result
        if not file.exists():
            write_whole(file, rows.schema, iter(rows.to_batches()))
            return
        with pq.ParquetFile(file) as old:
            # Without metadata, since pandas' own would name the old number of rows.
            schema = pa.schema(
                [field.with_type(filled(field.type, rows.schema.field(field.name).type)) for field in old.schema_arrow]
            )
            write_whole(file, schema, _continued(old, rows.select(schema.names), schema))


def _continued(old: pq.ParquetFile, rows: pa.Table, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    # The last row group takes the new rows in, or a thousand small writes would leave a thousand small groups.
    last = old.num_row_groups - 1
    for index in range(last):
        yield from types.conform(old.read_row_group(index), schema).combine_chunks().to_batches()
    tail = [old.read_row_group(last)] if last >= 0 else []
    joined = pa.concat_tables([types.conform(table, schema) for table in (*tail, rows)])
    yield from joined.combine_chunks().to_batches(max_chunksize=_ROWS_PER_GROUP)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # which unlocks


def filled(known: pa.DataType, given: pa.DataType) -> pa.DataType:
    """Choose a column's type: what it has, or what comes if it has none yet."""
    return given if pa.types.is_null(known) else known
