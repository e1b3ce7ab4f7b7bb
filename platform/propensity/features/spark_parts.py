"""What Spark's workers write: a part's rows of each snapshot as Parquet files, under names of the attempt's own.

A part is a range of customers. Its task writes one file per table and snapshot into a directory that no reader looks
at, and tells the driver what it wrote. Spark may run a task twice: the driver takes the files it was told of, and moves
them into the runs.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from propensity import columns
from propensity.features.label_rows import LabelRun
from propensity.features.snapshot_rows import (
    ROW_GROUP_ROWS,
    Entries,
    Origin,
    feature_batch,
    feature_writer,
    sparse_rows,
)
from propensity.warehouse.schemas import LABEL_SCHEMA

SPINE: Final = -1
"""The family of the row that says that a customer is known."""
WRITTEN: Final = "table STRING, snapshot INT, part INT, file STRING, rows BIGINT"
"""Spark's schema of what a task tells."""
_WRITTEN: Final = pa.schema(
    [
        ("table", pa.string()),
        ("snapshot", pa.int32()),
        ("part", pa.int32()),
        ("file", pa.string()),
        ("rows", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Written:
    """A file that a task has finished: a part's rows of a snapshot in a table."""

    table: str
    snapshot: int
    part: int
    file: str
    rows: int


class PartFiles:
    """The files of a task, one per table and snapshot; snapshots come in order."""

    def __init__(self, directory: Path, part: int) -> None:
        """Prepare to write the part's files below the directory, which is there."""
        self._directory, self._part = directory, part
        self._attempt = uuid.uuid4().hex
        self._open = ExitStack()
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._snapshot = -1
        self._written: dict[tuple[str, int], Written] = {}

    def write(self, table: str, snapshot: int, rows: pa.Table | pa.RecordBatch) -> None:
        """Append rows to the table's file of the snapshot."""
        if snapshot != self._snapshot:
            self._close()
            self._snapshot = snapshot
        place = table, snapshot
        if table not in self._writers:
            file = f"{table}-{snapshot}-{self._part}-{self._attempt}.parquet"
            is_features = table != columns.CATEGORY_LABELS
            opened = feature_writer if is_features else label_writer
            self._writers[table] = self._open.enter_context(opened(self._directory / file))
            self._written[place] = Written(table, snapshot, self._part, file, 0)
        self._writers[table].write(rows, ROW_GROUP_ROWS)
        self._written[place] = replace(self._written[place], rows=self._written[place].rows + rows.num_rows)

    def finish(self) -> pa.RecordBatch:
        """Close the files and return a row per file, as `WRITTEN` says."""
        self._close()
        return pa.RecordBatch.from_pylist([asdict(each) for each in self._written.values()], schema=_WRITTEN)

    def _close(self) -> None:
        self._open.close()
        self._writers.clear()


@dataclass(frozen=True)
class SnapshotParts:
    """Writes a part's rows of the feature tables. Holds values and paths only: it is sent to the workers.

    Attributes:
        directory: For the files; the same path on every machine.
        origins: Of each snapshot's rows.
    """

    directory: Path
    origins: tuple[Origin, ...]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Write a part and yield what was written.

        Args:
            batches: part, snapshot, customer_id, family (position in `columns.FAMILIES`, or SPINE for the row that a
                known customer has) and entries (list of index and value), by snapshot and customer_id.

        Side effects: files in the directory.
        """
        return _write_part(self.directory, batches, self._write)

    def _write(self, files: PartFiles, rows: pa.Table) -> None:
        family = rows.column("family").to_numpy()
        # Who has no row that says so isn't known: there are attributes of strangers.
        spine = np.flatnonzero(family == SPINE)
        customer = np.cumsum(customer_starts(rows)) - 1
        row_of_customer = np.full(customer[-1] + 1, -1, np.int32)
        row_of_customer[customer[spine]] = np.arange(len(spine), dtype=np.int32)
        row = row_of_customer[customer]
        vectors = [
            sparse_rows([_entries(rows, row, (family == number) & (row >= 0))], len(spine))
            for number in range(len(columns.FAMILIES))
        ]
        known = rows.take(pa.array(spine))
        customer_id = known.column(columns.CUSTOMER_ID).combine_chunks()
        for snapshot, first, n_rows in _by_snapshot(known, len(self.origins)):
            for name, matrix in zip(columns.FAMILIES, vectors, strict=True):
                batch = feature_batch(customer_id.slice(first, n_rows), matrix, first, self.origins[snapshot])
                files.write(columns.feature_view(name), snapshot, batch)


@dataclass(frozen=True)
class LabelParts:
    """Writes a part's rows of the labels. Holds values and paths only: it is sent to the workers.

    Attributes:
        directory: For the files; the same path on every machine.
        runs: Of each window.
    """

    directory: Path
    runs: tuple[LabelRun, ...]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Write a part and yield what was written.

        Args:
            batches: part, snapshot, customer_id, label_categories and label_classes, by snapshot and customer_id.

        Side effects: files in the directory.
        """
        return _write_part(self.directory, batches, self._write)

    def _write(self, files: PartFiles, rows: pa.Table) -> None:
        for snapshot, first, n_rows in _by_snapshot(rows, len(self.runs)):
            files.write(columns.CATEGORY_LABELS, snapshot, self.runs[snapshot].rows(rows.slice(first, n_rows)))


def label_writer(file: Path) -> pq.ParquetWriter:
    """Open a new file of labels."""
    return pq.ParquetWriter(file, LABEL_SCHEMA, compression="zstd")


def customer_starts(rows: pa.Table | pa.RecordBatch) -> npt.NDArray[np.bool_]:
    """Return which rows are the first of a (snapshot, customer), bool, (n_rows,)."""
    starts = np.ones(rows.num_rows, bool)
    for name in ("snapshot", columns.CUSTOMER_ID):
        column = rows.column(name)
        other = pc.not_equal(column.slice(1), column.slice(0, rows.num_rows - 1)).to_numpy(zero_copy_only=False)
        starts[1:] = other if name == "snapshot" else starts[1:] | other
    return starts


def whole_customers(batches: Iterator[pa.RecordBatch], customers: int = ROW_GROUP_ROWS) -> Iterator[pa.Table]:
    """Yield the rows in tables of so many (snapshot, customer)s, the last one fewer; none is divided among two.

    Args:
        batches: Rows by snapshot and customer_id, which are among their columns.
        customers: Of each table.
    """
    held: list[pa.RecordBatch] = []
    starts: list[npt.NDArray[np.bool_]] = []
    n_customers, last = 0, None
    for batch in batches:
        if not batch.num_rows:
            continue
        begins = customer_starts(batch)
        ends = [(batch.column("snapshot")[row], batch.column(columns.CUSTOMER_ID)[row]) for row in (0, -1)]
        begins[0] = ends[0] != last
        last = ends[1]
        held.append(batch)
        starts.append(begins)
        n_customers += int(begins.sum())
        if n_customers <= customers:
            continue
        rows, all_starts = pa.Table.from_batches(held), np.concatenate(starts)
        first = np.flatnonzero(all_starts)
        for number in range(customers, n_customers, customers):
            begin, end = int(first[number - customers]), int(first[number])
            yield rows.slice(begin, end - begin)
        rest = (n_customers - 1) // customers * customers
        begin, n_customers = int(first[rest]), n_customers - rest
        held, starts = rows.slice(begin).to_batches(), [all_starts[begin:]]
    if held:
        yield pa.Table.from_batches(held)


def written_files(told: Sequence[Sequence[object]]) -> dict[tuple[str, int], list[Written]]:
    """Return what the tasks told, by table and snapshot, each in the order of its parts."""
    found: dict[tuple[str, int], list[Written]] = {}
    for each in sorted((Written(*row) for row in told), key=lambda each: each.part):  # type: ignore[arg-type]
        found.setdefault((each.table, each.snapshot), []).append(each)
    return found


def move_parts(directory: Path, written: Sequence[Written], run: Path, schema: pa.Schema) -> None:
    """Move a table's files of a snapshot into its run's directory; for a snapshot of nobody, write an empty file.

    Names rise with the parts, so the files in the order of their names hold the rows in the order of customers.
    """
    for number, each in enumerate(written):
        (directory / each.file).rename(run / f"part-{number:05d}.parquet")
    if not written:
        pq.write_table(schema.empty_table(), run / "part-00000.parquet")


def _write_part(
    directory: Path, batches: Iterator[pa.RecordBatch], write: Callable[[PartFiles, pa.Table], None]
) -> Iterator[pa.RecordBatch]:
    files: PartFiles | None = None
    for rows in whole_customers(batches):
        files = files or PartFiles(directory, rows.column("part")[0].as_py())
        write(files, rows)
    if files is not None:
        yield files.finish()


def _by_snapshot(rows: pa.Table, n_snapshots: int) -> Iterator[tuple[int, int, int]]:
    """Yield (snapshot, first row, number of rows) of those that have rows."""
    bounds = np.searchsorted(rows.column("snapshot").to_numpy(), np.arange(n_snapshots + 1))
    for snapshot in range(n_snapshots):
        first, last = int(bounds[snapshot]), int(bounds[snapshot + 1])
        if first < last:
            yield snapshot, first, last - first


def _entries(rows: pa.Table, row: npt.NDArray[np.int32], chosen: npt.NDArray[np.bool_]) -> Entries:
    """Return the chosen rows' entries, at the rows that they are written to."""
    lists = rows.column("entries").take(pa.array(np.flatnonzero(chosen))).combine_chunks()
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    index, value = (lists.flatten().field(number).to_numpy(zero_copy_only=False) for number in range(2))
    return Entries(np.repeat(row[chosen], lengths), index.astype(np.int32), value.astype(np.float32))
