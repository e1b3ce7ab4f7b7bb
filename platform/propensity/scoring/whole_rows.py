"""Rows of full vectors, written by polars when all of a part are there.

Parquet writes down each value's place in its list. For lists of floats polars does so in a third of pyarrow's time, but
it has no writer that takes a file's rows bit by bit, so a part is held; `parts` bounds what it weighs.
"""

from __future__ import annotations

import os
from base64 import b64encode
from threading import Lock
from typing import TYPE_CHECKING, ClassVar, Final

import pyarrow as pa

from propensity.scoring.parts import most_held_rows
from propensity.scoring.rows_file import Later, Written
from propensity.scoring.summed_file import SummedFile

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from propensity.scoring.job import ScoringJob

ROW_GROUP_BYTES: Final = 16_777_216
"""Of scores in a row group. One batch of 2,000 categories: rows that come as a row group aren't copied once more."""
ALLOCATOR: Final = "_RJEM_MALLOC_CONF"
KEPT_MEMORY: Final = "background_thread:true,dirty_decay_ms:500,muzzy_decay_ms:-1"
"""Of polars' jemalloc: it has what it freed still when the next part is written."""
_importing: Final = Lock()


class WholeRows:
    """See `rows_file.RowsFile`. Memory is that of the part, and while it is written of a few row groups beside it.

    The next part grows meanwhile, to a quarter of the most a part may have.
    """

    holds_part: ClassVar[bool] = True
    writer: ClassVar[str] = "polars"

    def __init__(self, path: Path, job: ScoringJob, lanes: int) -> None:
        """Open a new file.

        Side effects: creates it. It is empty until `end`, and shows what is under way.
        """
        self._file = SummedFile(path)
        self._schema, self._lanes = job.schema, lanes
        row_bytes = job.output.row_bytes(job.n_categories, job.n_classes)
        self._row_group_rows = job.batch_rows * max(1, ROW_GROUP_BYTES // (job.batch_rows * row_bytes))
        self._held: list[pa.RecordBatch] = []
        self._rows, self._quarter = 0, most_held_rows(row_bytes) // 4

    def add(self, rows: pa.RecordBatch, later: Later) -> None:
        """Hold rows; with a quarter of a part, wait until the part before is written."""
        self._held.append(rows)
        before, self._rows = self._rows, self._rows + rows.num_rows
        if before < self._quarter <= self._rows:
            later(_nothing)

    def end(self) -> None:
        """Write the file."""
        pl = _polars(self._lanes)
        rows = pa.Table.from_batches(self._held, self._schema)
        self._held = []
        try:
            pl.from_arrow(rows, rechunk=False).write_parquet(
                self._file,
                compression="uncompressed",  # scores have nearly random bits, and the rest is little beside them
                # Of lists, too: there is one switch for all columns, and readers skip row groups by customer_id's.
                statistics=True,
                row_group_size=self._row_group_rows,
                # Polars' own types are the large ones; Arrow's readers shall find the lake's.
                metadata={"ARROW:schema": b64encode(self._schema.serialize()).decode()},
            )
        except pl.exceptions.PolarsError as error:
            if self._file.error is None:
                raise
            raise self._file.error from error

    def flush(self) -> None:
        """Nothing is written before all of it is."""

    def close(self) -> None:
        """Close the file and let go of rows that came to nothing."""
        self._held = []
        self._file.close()

    def written(self) -> Written:
        """Return the sum of what passed through."""
        return Written(self._file.size, self._file.crc32)


def _nothing() -> None:
    """A task whose begin shows that those before it have ended."""


def _polars(lanes: int) -> ModuleType:
    """Return polars.

    Imported with the first file: it takes a quarter of a second, and a forked process must not have its threads. It
    reads at its import how many of them encode row groups; by default as many as the machine has cores, whatever part
    of them the user gave us. With one for each lane none waits for another one's.
    """
    with _importing:
        added = {"POLARS_MAX_THREADS": str(lanes), ALLOCATOR: KEPT_MEMORY}
        added = {name: value for name, value in added.items() if name not in os.environ}
        os.environ.update(added)
        try:
            import polars as pl  # noqa: PLC0415
        finally:
            for name in added:
                del os.environ[name]
    return pl
