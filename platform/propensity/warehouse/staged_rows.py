"""Rows on their way into the lake: text batches with their line numbers, staged as Parquet.

Sources that DuckDB can't read with line numbers (CSV, SQL) go through such a file, batch by batch, so that memory stays
bounded and every later step reads Parquet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from propensity.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

SOURCE_NAME: Final = "__source_name"
SOURCE_LINE: Final = "__source_line"
UNREADABLE: Final = "__unreadable"
"""Columns beside the source's own: file, 1-based line, and the text of a record that couldn't be read (else NULL)."""

BATCH_ROWS: Final = 50_000


def check_names(names: Iterable[str], source: str) -> list[str]:
    """Return the column names, trimmed.

    Raises:
        InputError: A name is empty, comes twice (names ignore case) or is one of this module's own.
    """
    trimmed = [name.strip() for name in names]
    seen: set[str] = set()
    for position, name in enumerate(trimmed, start=1):
        if not name or name.lower() in seen or name in (SOURCE_NAME, SOURCE_LINE, UNREADABLE):
            problem = f"name {name!r} twice" if name else f"no name for column {position}"
            raise InputError(f"{source}: the header has {problem}. Give every column its own name.")
        seen.add(name.lower())
    return trimmed


def text_batch(
    names: Sequence[str],
    source_lines: Sequence[int],
    fields: Sequence[Sequence[str | None]],
    unreadable: Sequence[str] | None = None,
) -> pa.RecordBatch:
    """Return a batch of text columns, `fields[c][r]` being column c of row r."""
    arrays = [
        pa.array(source_lines, pa.int64()),
        pa.array(unreadable, pa.string()) if unreadable is not None else pa.nulls(len(source_lines), pa.string()),
        *(pa.array(column, pa.string()) for column in fields),
    ]
    return pa.record_batch(arrays, schema=_schema(names))


def stage(batches: Iterable[pa.RecordBatch], file: Path) -> bool:
    """Write the batches to one Parquet file; return whether there were any.

    Side effects: creates the file, unless there is no batch.
    """
    writer = None
    try:
        for batch in batches:
            if writer is None:
                writer = pq.ParquetWriter(file, batch.schema, compression="zstd")
            writer.write_batch(batch)
    finally:
        if writer is not None:
            writer.close()
    return writer is not None


def _schema(names: Sequence[str]) -> pa.Schema:
    return pa.schema([(SOURCE_LINE, pa.int64()), (UNREADABLE, pa.string()), *((name, pa.string()) for name in names)])
