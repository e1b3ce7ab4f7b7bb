"""Writing one part: a Parquet file under a name of its own, moved to its place when it is whole.

Bytes depend on the rows alone: row groups are cut by number of rows, whoever writes them and however often.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from propensity import columns

if TYPE_CHECKING:
    from pathlib import Path

    from propensity.scoring.job import ScoringJob
    from propensity.scoring.manifests import Staging
    from propensity.scoring.parts import Part
    from propensity.scoring.scorer import Scorer

    Later = Callable[[Callable[[], None]], None]

REPEATED: Final = (
    columns.EVENT_TIMESTAMP,
    columns.CREATED_TIMESTAMP,
    columns.REGION,
    columns.MODEL_VERSION,
    columns.RUN_ID,
)
"""Columns of few values: a dictionary makes them vanish."""


class PartFile:
    """The file of one part, being written."""

    def __init__(self, staging: Staging, job: ScoringJob, part: Part) -> None:
        """Open a new file; `close` removes it unless `finish` was reached.

        Side effects: creates a file among the run's attempts.
        """
        self._staging, self._job, self._part = staging, job, part
        self._path = staging.attempt(part)
        self._file = _SummedFile(self._path)
        self._writer: pq.ParquetWriter | None = pq.ParquetWriter(self._file, job.schema, **_encoding(job.schema))

    def write(self, batches: Sequence[pa.RecordBatch]) -> None:
        """Write the batches as one row group."""
        assert self._writer is not None, "the file is closed"
        rows = pa.Table.from_batches(batches)
        self._writer.write_table(rows, row_group_size=rows.num_rows)

    def flush(self) -> None:
        """Wait until what was written is on the disk; nothing after `finish`."""
        if self._writer is not None:
            self._file.sync()

    def finish(self) -> None:
        """Put the file in its place, with its manifest.

        Side effects: those of `Staging.take`.
        """
        self._close_writer()
        self._staging.take(self._job, self._part, self._path, file_bytes=self._file.size, file_sha256=self._file.sha256)

    def close(self) -> None:
        """Drop the file unless it was finished; safe to repeat."""
        if self._writer is None:
            return
        try:
            self._close_writer()
        finally:
            self._path.unlink(missing_ok=True)

    def _close_writer(self) -> None:
        writer, self._writer = self._writer, None
        try:
            if writer is not None:
                writer.close()
        finally:
            self._file.close()


def _encoding(schema: pa.Schema) -> dict[str, Any]:
    """Return how columns are encoded, as options of ParquetWriter.

    Scores have nearly random bits: zstd takes as long over them as all the rest of writing and saves a fourteenth, a
    dictionary only costs. Integers in lists are few different ones: a dictionary packs them into as many bits as it has
    to. Only encodings that Spark's reader has are used.
    """
    lists = {field.name: f"{field.name}.list.element" for field in schema if pa.types.is_list(field.type)}
    integers = [path for name, path in lists.items() if pa.types.is_integer(schema.field(name).type.value_type)]
    scalars = [name for name in schema.names if name not in lists]
    return {
        "compression": dict.fromkeys(lists.values(), "snappy") | dict.fromkeys(scalars, "zstd"),
        "compression_level": dict.fromkeys(scalars, 1),
        "use_dictionary": [*REPEATED, *integers],
        # Readers skip by these; least and greatest of a list of scores would only cost time.
        "write_statistics": [columns.CUSTOMER_ID, *REPEATED],
    }


def now(task: Callable[[], None]) -> None:
    """Do the task at once: the `later` of an engine that writes where it scores."""
    task()


def score_part(
    job: ScoringJob,
    scorer: Scorer,
    file: PartFile,
    batches: Iterable[pa.RecordBatch],
    *,
    later: Later = now,
    scored_rows: Callable[[int], None] | None = None,
) -> None:
    """Score a part's batches into its file.

    Args:
        job: The run.
        scorer: From `job.open_scorer`.
        file: The part's.
        batches: From `job.read`.
        later: Takes writing off this thread; must keep the order.
        scored_rows: Told of each batch's rows when they were scored.

    Side effects: writes the file and, when all is written, its manifest.
    """
    row_group: list[pa.RecordBatch] = []
    held = 0
    for batch in batches:
        rows = job.rows_of(scorer, batch)
        row_group.append(rows)
        held += rows.num_rows
        if held >= job.row_group_rows:
            later(partial(file.write, row_group))
            row_group, held = [], 0
        if scored_rows is not None:
            scored_rows(rows.num_rows)
    if row_group:
        later(partial(file.write, row_group))
    later(file.finish)


class _SummedFile:
    """A new file for writing that sums what passes through, so that it needn't be read again."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._sha256 = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, data: bytes) -> int:
        self._sha256.update(data)
        self.size += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
