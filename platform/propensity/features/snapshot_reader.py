"""Streaming a snapshot, or a range of its rows, out of the lake, all families side by side.

A family's files, in the order of their names, are one sequence of rows, however they are cut: DuckDB's build writes
one, Spark's as many as there are parts.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from propensity import columns
from propensity.errors import MissingSnapshotError, WarehouseError
from propensity.features.regrouping import regrouped
from propensity.features.vectors import SEPARATOR
from propensity.warehouse.lake import Lake

if TYPE_CHECKING:
    from propensity.features.snapshot import Snapshot
    from propensity.settings import Settings

READ = (columns.CUSTOMER_ID, columns.EVENT_TIMESTAMP, columns.INDICES, columns.VALUES)


def snapshot_rows(settings: Settings, snapshot: Snapshot) -> int:
    """Return how many customers the snapshot's files hold. Read-only.

    Raises:
        MissingSnapshotError: A family's files are gone from the lake.
        WarehouseError: The families differ; the snapshot is damaged.
    """
    rows: dict[str, int] = {}
    for family in columns.FAMILIES:
        view = columns.feature_view(family)
        rows[view] = sum(_rows(file) for file in snapshot_files(settings, snapshot, view))
    first, *others = rows
    for other in others:
        if rows[other] != rows[first]:
            raise _damaged(settings, snapshot, other, first)
    return rows[first]


def snapshot_files(settings: Settings, snapshot: Snapshot, view: str) -> list[Path]:
    """Return a feature view's files of the snapshot, in the order of their rows. Read-only.

    Raises:
        MissingSnapshotError: They are gone from the lake.
    """
    lake = Lake(settings.lake)
    files = lake.files(view, settings.region, run_id=snapshot.run_id, as_of=snapshot.as_of)
    if not files:
        directory = lake.run_directory(view, settings.region, snapshot.run_id, snapshot.as_of)
        raise MissingSnapshotError(
            f"The lake lacks the files of {directory}. "
            f"Build it again: propensity features build --as-of {snapshot.as_of.isoformat()}"
        )
    return files


def read_snapshot(
    settings: Settings, snapshot: Snapshot, batch_rows: int = 4096, rows: range | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield customer_id, event_timestamp and each family's `<view>__indices` and `<view>__values`. Read-only.

    Memory holds one batch and what of the files' row groups was decoded for it: a build writes every family's rows in
    the same order, so they are read side by side. Of files outside `rows` only footers are read, once a process.

    Args:
        settings: Of the home and region.
        snapshot: Of what.
        batch_rows: Rows of every batch but the last, however rows are divided into files and row groups.
        rows: Which rows, by their number in the snapshot, step 1; all by default.

    Raises:
        MissingSnapshotError: A family's files are gone from the lake.
        WarehouseError: The families' rows don't belong together; the snapshot is damaged.
    """
    with ExitStack() as stack:
        streams = {}
        for family in columns.FAMILIES:
            view = columns.feature_view(family)
            pieces = _pieces(snapshot_files(settings, snapshot, view), rows, batch_rows, READ)
            stack.callback(pieces.close)  # an iterator that isn't read to its end has a file open
            streams[view] = regrouped(pieces, batch_rows)
        while True:
            parts = {view: next(stream, None) for view, stream in streams.items()}
            first_view, first = next(iter(parts.items()))
            if first is None and all(part is None for part in parts.values()):
                return
            arrays = {}
            for view, part in parts.items():
                if first is None or part is None or not part.column(0).equals(first.column(0)):
                    raise _damaged(settings, snapshot, view, first_view)
                arrays[view + SEPARATOR + columns.INDICES] = part.column(2)
                arrays[view + SEPARATOR + columns.VALUES] = part.column(3)
            assert first is not None
            yield pa.RecordBatch.from_pydict(
                {columns.CUSTOMER_ID: first.column(0), columns.EVENT_TIMESTAMP: first.column(1), **arrays}
            )


def snapshot_customers(settings: Settings, snapshot: Snapshot, batch_rows: int) -> Iterator[pa.Array]:
    """Yield the snapshot's customers in the order of its rows, `batch_rows` at a time; raises as `read_snapshot`."""
    files = snapshot_files(settings, snapshot, columns.feature_view(columns.FAMILIES[0]))
    with closing(_pieces(files, None, batch_rows, [columns.CUSTOMER_ID])) as pieces:
        for batch in regrouped(pieces, batch_rows):
            yield batch.column(0)


def read_rows(file: Path, batch_rows: int, rows: range) -> Iterator[pa.RecordBatch]:
    """Yield rows of a file with the columns of `read_snapshot`'s batches, in batches like those. Read-only."""
    with closing(_pieces([file], rows, batch_rows, None)) as pieces:
        yield from regrouped(pieces, batch_rows)


def _pieces(
    files: Sequence[Path], rows: range | None, batch_rows: int, names: Sequence[str] | None
) -> Generator[pa.RecordBatch, None, None]:
    """Yield the rows as they come out of the files, in their order."""
    first = 0
    for file in files:
        behind = first + _rows(file)
        wanted = range(first, behind) if rows is None else range(max(first, rows.start), min(behind, rows.stop))
        if wanted:
            with pq.ParquetFile(file, metadata=_footer(file)) as parquet:
                yield from _of_file(parquet, range(wanted.start - first, wanted.stop - first), batch_rows, names)
        first = behind


def _of_file(
    parquet: pq.ParquetFile, rows: range, batch_rows: int, names: Sequence[str] | None
) -> Iterator[pa.RecordBatch]:
    """Yield some of a file's rows, of which there are any; row groups without them aren't read."""
    groups, skip = _row_groups(parquet.metadata, rows)
    left = len(rows)
    for batch in parquet.iter_batches(
        batch_rows,
        row_groups=groups,
        columns=parquet.schema_arrow.names if names is None else list(names),
        use_threads=False,  # who reads several ranges at once has threads of its own
    ):
        wanted = batch.slice(min(skip, batch.num_rows), left)
        skip = max(0, skip - batch.num_rows)
        left -= wanted.num_rows
        if wanted.num_rows:
            yield wanted
        if left == 0:
            return


def _row_groups(metadata: pq.FileMetaData, rows: range) -> tuple[list[int], int]:
    """Return the row groups that hold the rows, and how many rows of the first one come before them."""
    groups: list[int] = []
    skip = first = 0
    for number in range(metadata.num_row_groups):
        behind = first + metadata.row_group(number).num_rows
        if first < rows.stop and rows.start < behind:
            if not groups:
                skip = rows.start - first
            groups.append(number)
        first = behind
    return groups, skip


def _rows(file: Path) -> int:
    """Return a file's rows: each part of a scoring asks for all files before its own."""
    state = file.stat()
    return _rows_of_version(file, state.st_mtime_ns, state.st_size, state.st_ino)


@lru_cache(maxsize=100_000)
def _rows_of_version(file: Path, *state: int) -> int:
    """Read how many; `state` tells whether the file is still the one that was read: a home can be restored."""
    del state
    rows: int = _footer(file).num_rows
    return rows


def _footer(file: Path) -> pq.FileMetaData:
    """Return what a file says of its row groups, which is read once however many ranges of the file are."""
    state = file.stat()
    return _footer_of_version(file, state.st_mtime_ns, state.st_size, state.st_ino)


@lru_cache(maxsize=2 * len(columns.FAMILIES))
def _footer_of_version(file: Path, *state: int) -> pq.FileMetaData:
    del state
    return pq.read_metadata(file)


def _damaged(settings: Settings, snapshot: Snapshot, view: str, first_view: str) -> WarehouseError:
    directory = Lake(settings.lake).run_directory(view, settings.region, snapshot.run_id, snapshot.as_of)
    return WarehouseError(
        f"Snapshot {snapshot.run_id} is damaged: {view} has other customers than {first_view}. "
        f"Remove {directory} and build it again."
    )
