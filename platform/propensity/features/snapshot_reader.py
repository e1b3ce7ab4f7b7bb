"""Streaming a snapshot out of the lake, all families side by side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from propensity import columns
from propensity.errors import MissingSnapshotError, WarehouseError
from propensity.features.vectors import SEPARATOR
from propensity.warehouse.lake import Lake

if TYPE_CHECKING:
    from propensity.features.snapshots import Snapshot
    from propensity.settings import Settings


def read_snapshot(settings: Settings, snapshot: Snapshot, batch_rows: int = 4096) -> Iterator[pa.RecordBatch]:
    """Yield customer_id, event_timestamp and each family's `<view>__indices` and `<view>__values`. Read-only.

    Memory holds one batch: a build writes every family's rows in the same order, so they are read side by side.

    Raises:
        MissingSnapshotError: A family's files are gone from the lake.
        WarehouseError: The families' rows don't belong together; the snapshot is damaged.
    """
    lake = Lake(settings.lake)
    with ExitStack() as stack:
        streams = []
        for family in columns.FAMILIES:
            view = columns.feature_view(family)
            file = lake.run_directory(view, settings.region, snapshot.run_id, snapshot.as_of) / "part-0.parquet"
            if not file.is_file():
                raise MissingSnapshotError(
                    f"The lake lacks {file}. Build it again: propensity features build "
                    f"--as-of {snapshot.as_of.isoformat()}"
                )
            parquet = stack.enter_context(pq.ParquetFile(file))
            streams.append(
                (
                    view,
                    parquet.iter_batches(
                        batch_rows,
                        columns=[columns.CUSTOMER_ID, columns.EVENT_TIMESTAMP, columns.INDICES, columns.VALUES],
                    ),
                )
            )
        while True:
            parts = {view: next(stream, None) for view, stream in streams}
            first_view, first = next(iter(parts.items()))
            if first is None and all(part is None for part in parts.values()):
                return
            arrays = {}
            for view, part in parts.items():
                if first is None or part is None or not part.column(0).equals(first.column(0)):
                    raise WarehouseError(
                        f"Snapshot {snapshot.run_id} is damaged: {view} has other customers than {first_view}. "
                        f"Remove {lake.run_directory(view, settings.region, snapshot.run_id, snapshot.as_of)} "
                        "and build it again."
                    )
                arrays[view + SEPARATOR + columns.INDICES] = part.column(2)
                arrays[view + SEPARATOR + columns.VALUES] = part.column(3)
            assert first is not None
            yield pa.RecordBatch.from_pydict(
                {columns.CUSTOMER_ID: first.column(0), columns.EVENT_TIMESTAMP: first.column(1), **arrays}
            )
