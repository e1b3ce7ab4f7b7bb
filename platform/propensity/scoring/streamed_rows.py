"""Rows written by pyarrow as they come, row group after row group."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pyarrow as pa
import pyarrow.parquet as pq

from propensity import columns
from propensity.scoring.rows_file import Later, Written
from propensity.scoring.summed_file import SummedFile

if TYPE_CHECKING:
    from pathlib import Path

    from propensity.scoring.job import ScoringJob

REPEATED: Final = (
    columns.EVENT_TIMESTAMP,
    columns.CREATED_TIMESTAMP,
    columns.REGION,
    columns.MODEL_VERSION,
    columns.RUN_ID,
)
"""Columns of few values: a dictionary makes them vanish."""


class StreamedRows:
    """See `rows_file.RowsFile`. Memory is that of two row groups."""

    holds_part: ClassVar[bool] = False
    writer: ClassVar[str] = "pyarrow"

    def __init__(self, path: Path, job: ScoringJob, lanes: int) -> None:
        """Open a new file.

        Side effects: creates it.
        """
        del lanes
        self._row_group_rows = job.row_group_rows
        self._row_group: list[pa.RecordBatch] = []
        self._file = SummedFile(path)
        self._writer = pq.ParquetWriter(self._file, job.schema, **_encoding(job.schema))

    def add(self, rows: pa.RecordBatch, later: Later) -> None:
        """Take rows; write a row group when it is full."""
        self._row_group.append(rows)
        if sum(batch.num_rows for batch in self._row_group) >= self._row_group_rows:
            later(partial(self._write, self._row_group))
            self._row_group = []

    def end(self) -> None:
        """Write the last row group."""
        if self._row_group:
            self._write(self._row_group)
            self._row_group = []

    def _write(self, batches: Sequence[pa.RecordBatch]) -> None:
        rows = pa.Table.from_batches(batches)
        self._writer.write_table(rows, row_group_size=rows.num_rows)

    def flush(self) -> None:
        """Wait until the row groups are on the disk."""
        self._file.sync()

    def close(self) -> None:
        """Write the footer and close the file."""
        try:
            self._writer.close()
        finally:
            self._file.close()

    def written(self) -> Written:
        """Return the sum of what passed through."""
        return Written(self._file.size, self._file.crc32)


def _encoding(schema: pa.Schema) -> dict[str, Any]:
    """Return how columns are encoded, as options of ParquetWriter.

    Scores have nearly random bits: zstd takes as long over them as all the rest of writing and saves a fourteenth,
    snappy saves nothing, a dictionary only costs. Integers in lists are few different ones: a dictionary packs them
    into as many bits as it has to, and nothing is left to compress. Only encodings that Spark's reader has are used.
    """
    lists = {field.name: f"{field.name}.list.element" for field in schema if pa.types.is_list(field.type)}
    integers = [path for name, path in lists.items() if pa.types.is_integer(schema.field(name).type.value_type)]
    scalars = [name for name in schema.names if name not in lists]
    return {
        "compression": dict.fromkeys(lists.values(), "none") | dict.fromkeys(scalars, "zstd"),
        "compression_level": dict.fromkeys(scalars, 1),
        "use_dictionary": [*REPEATED, *integers],
        # Readers skip by these; least and greatest of a list of scores would only cost time.
        "write_statistics": [columns.CUSTOMER_ID, *REPEATED],
    }
