"""Streaming a snapshot, or a range of its rows, out of the lake, all families side by side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from propensity import columns
from propensity.errors import MissingSnapshotError, WarehouseError
from propensity.features.vectors import SEPARATOR
from propensity.warehouse.lake import Lake

if TYPE_CHECKING:
    from pathlib import Path

    from propensity.features.snapshots import Snapshot
    from propensity.settings import Settings

_NAMES: Final = [columns.CUSTOMER_ID, columns.EVENT_TIMESTAMP, columns.INDICES, columns.VALUES]


def snapshot_rows(settings: Settings, snapshot: Snapshot) -> int:
    """Return how many customers the snapshot's files hold. Read-only.

    Raises:
        MissingSnapshotError: A family's files are gone from the lake.
        WarehouseError: The families differ; the snapshot is damaged.
    """
    rows: dict[str, int] = {}
    for family in columns.FAMILIES:
        view = columns.feature_view(family)
        rows[view] = pq.read_metadata(_file(settings, snapshot, view)).num_rows
    first, *others = rows
    for other in others:
        if rows[other] != rows[first]:
            raise _damaged(settings, snapshot, other, first)
    return rows[first]


def read_snapshot(
    settings: Settings, snapshot: Snapshot, batch_rows: int = 4096, rows: range | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield customer_id, event_timestamp and each family's `<view>__indices` and `<view>__values`. Read-only.

    Memory holds one batch and what of the files' row groups was decoded for it: a build writes every family's rows in
    the same order, so they are read side by side. Row groups outside `rows` are not read.

    Args:
        settings: Of the home and region.
        snapshot: Of what.
        batch_rows: Rows of every batch but the last, however the files are divided into row groups.
        rows: Which rows, by their number in the files, step 1; all by default.

    Raises:
        MissingSnapshotError: A family's files are gone from the lake.
        WarehouseError: The families' rows don't belong together; the snapshot is damaged.
    """
    with ExitStack() as stack:
        streams = {}
        for family in columns.FAMILIES:
            view = columns.feature_view(family)
            parquet = stack.enter_context(pq.ParquetFile(_file(settings, snapshot, view)))
            wanted = range(parquet.metadata.num_rows) if rows is None else rows
            streams[view] = _batches(parquet, wanted, batch_rows, _NAMES)
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
    with pq.ParquetFile(_file(settings, snapshot, columns.feature_view(columns.FAMILIES[0]))) as parquet:
        for batch in _batches(parquet, range(parquet.metadata.num_rows), batch_rows, [columns.CUSTOMER_ID]):
            yield batch.column(0)


def read_rows(file: Path, batch_rows: int, rows: range) -> Iterator[pa.RecordBatch]:
    """Yield rows of a file with the columns of `read_snapshot`'s batches, in batches like those. Read-only."""
    with pq.ParquetFile(file) as parquet:
        yield from _batches(parquet, rows, batch_rows, parquet.schema_arrow.names)


def _batches(parquet: pq.ParquetFile, rows: range, batch_rows: int, names: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield the rows in batches that begin at the range's start, whatever row groups they lie in."""
    groups, skip = _row_groups(parquet.metadata, rows)
    left = len(rows)
    held: list[pa.RecordBatch] = []
    if not groups:
        return
    for batch in parquet.iter_batches(
        batch_rows,
        row_groups=groups,
        columns=names,
        use_threads=False,  # who reads several ranges at once has threads of its own
    ):
        wanted = batch.slice(min(skip, batch.num_rows), left)
        skip = max(0, skip - batch.num_rows)
        left -= wanted.num_rows
        if wanted.num_rows:
            held.append(wanted)
        while sum(part.num_rows for part in held) >= batch_rows:
            whole = _joined(held)
            yield whole.slice(0, batch_rows)
            held = [whole.slice(batch_rows)] if whole.num_rows > batch_rows else []
        if left == 0:
            break
    if held:
        yield _joined(held)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


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


def _file(settings: Settings, snapshot: Snapshot, view: str) -> Path:
    directory = Lake(settings.lake).run_directory(view, settings.region, snapshot.run_id, snapshot.as_of)
    file = directory / "part-0.parquet"
    if not file.is_file():
        raise MissingSnapshotError(
            f"The lake lacks {file}. Build it again: propensity features build --as-of {snapshot.as_of.isoformat()}"
        )
    return file


def _damaged(settings: Settings, snapshot: Snapshot, view: str, first_view: str) -> WarehouseError:
    directory = Lake(settings.lake).run_directory(view, settings.region, snapshot.run_id, snapshot.as_of)
    return WarehouseError(
        f"Snapshot {snapshot.run_id} is damaged: {view} has other customers than {first_view}. "
        f"Remove {directory} and build it again."
    )
