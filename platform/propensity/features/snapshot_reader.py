"""Streaming a snapshot, or a range of its rows, out of the lake, all families side by side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import lru_cache
from typing import TYPE_CHECKING

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


def snapshot_rows(settings: Settings, snapshot: Snapshot) -> int:
    """Return how many customers the snapshot's files hold. Read-only.

    Raises:
        MissingSnapshotError: A family's files are gone from the lake.
        WarehouseError: The families differ; the snapshot is damaged.
    """
    rows: dict[str, int] = {}
    for family in columns.FAMILIES:
        view = columns.feature_view(family)
        rows[view] = _metadata(_file(settings, snapshot, view)).num_rows
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
            file = _file(settings, snapshot, view)
            parquet = stack.enter_context(pq.ParquetFile(file, metadata=_metadata(file)))
            streams[view] = _batches(parquet, range(parquet.metadata.num_rows) if rows is None else rows, batch_rows)
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


def _batches(parquet: pq.ParquetFile, rows: range, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows in batches that begin at the range's start, whatever row groups they lie in."""
    groups, skip = _row_groups(parquet.metadata, rows)
    left = len(rows)
    held: list[pa.RecordBatch] = []
    if not groups:
        return
    for batch in parquet.iter_batches(
        batch_rows,
        row_groups=groups,
        columns=[columns.CUSTOMER_ID, columns.EVENT_TIMESTAMP, columns.INDICES, columns.VALUES],
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


def _metadata(file: Path) -> pq.FileMetaData:
    """Return a file's footer, which is read once however many ranges of the file are."""
    state = file.stat()
    return _read_metadata(file, state.st_size, state.st_mtime_ns, state.st_ino)


@lru_cache(maxsize=len(columns.FAMILIES))
def _read_metadata(file: Path, *state: int) -> pq.FileMetaData:
    """Read a footer, which lists every row group; `state` tells whether the file is still the one that was read."""
    del state
    return pq.read_metadata(file)


def _damaged(settings: Settings, snapshot: Snapshot, view: str, first_view: str) -> WarehouseError:
    directory = Lake(settings.lake).run_directory(view, settings.region, snapshot.run_id, snapshot.as_of)
    return WarehouseError(
        f"Snapshot {snapshot.run_id} is damaged: {view} has other customers than {first_view}. "
        f"Remove {directory} and build it again."
    )
