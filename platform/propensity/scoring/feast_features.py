"""A scoring's features from Feast: asked for once, and put down as a file that parts are read from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from propensity import columns
from propensity.errors import WarehouseError
from propensity.features.feature_store import open_feature_store
from propensity.features.regrouping import regrouped
from propensity.features.retrieval import features_job
from propensity.features.snapshot_reader import snapshot_customers, snapshot_rows
from propensity.features.vectors import SEPARATOR
from propensity.models.artifact import sha256_of
from propensity.warehouse.lake import Lake
from propensity.warehouse.schemas import FEATURE_SCHEMA

if TYPE_CHECKING:
    from pathlib import Path

    from propensity.features.snapshot import Snapshot
    from propensity.progress import Progress
    from propensity.settings import Settings

RETRIEVAL_ROWS: Final = 1 << 20
"""Customers asked for at once: each retrieval reads the keys of all snapshots within the ttl."""
ROW_GROUP_ROWS: Final = 1 << 13
"""Fixed, and each column in one piece, since pages are cut by pieces too, so that the file's bytes follow from its
rows, however Feast's store cuts them."""

_LISTS: Final = [columns.INDICES, columns.VALUES]
_SCHEMA: Final = pa.schema(
    [FEATURE_SCHEMA.field(name) for name in (columns.CUSTOMER_ID, columns.EVENT_TIMESTAMP)]
    + [
        FEATURE_SCHEMA.field(name).with_name(columns.feature_view(family) + SEPARATOR + name)
        for family in columns.FAMILIES
        for name in _LISTS
    ]
)


@dataclass(frozen=True)
class FeastFeatures:
    """What Feast gave for a snapshot's customers.

    Attributes:
        file: Parquet, a row per customer in the snapshot's order, columns as `read_snapshot`'s.
        sha256: Of the file, in hexadecimal: equal features have equal ones, whichever store gave them.
    """

    file: Path
    sha256: str


@contextmanager
def feast_features(settings: Settings, snapshot: Snapshot, progress: Progress) -> Iterator[FeastFeatures]:
    """Ask Feast for the features of the snapshot's customers at its as_of, as training does.

    Memory holds the ids of RETRIEVAL_ROWS customers and the features of a few batches, besides Feast's store's own.

    Args:
        settings: `offline_store` says who joins.
        snapshot: Its customers.
        progress: Told of customers.

    Raises:
        MissingSnapshotError: The snapshot's files are gone.
        WarehouseError: `feast apply` was never run for this home, or Feast gives other rows than it was asked for.

    Side effects: a file in the lake's staging directory until the block ends.
    """
    store = open_feature_store(settings)
    total, done = snapshot_rows(settings, snapshot), 0
    with Lake(settings.lake).staged() as directory:
        file = directory / "features.parquet"
        with pq.ParquetWriter(file, _SCHEMA) as writer:

            def retrieved() -> Iterator[pa.RecordBatch]:
                nonlocal done
                for customers in snapshot_customers(settings, snapshot, RETRIEVAL_ROWS):
                    ids, start = customers.to_numpy(zero_copy_only=False), 0
                    job = features_job(store, ids, [snapshot.as_of], np.zeros(len(ids), np.int32))
                    for batch in job.to_record_batches(ROW_GROUP_ROWS):
                        if not batch.column(columns.CUSTOMER_ID).equals(customers.slice(start, batch.num_rows)):
                            raise _other_rows(snapshot)
                        start += batch.num_rows
                        progress("retrieving", done + start, total)
                        yield batch.select(_SCHEMA.names).cast(_SCHEMA)
                    if start != len(ids):
                        raise _other_rows(snapshot)
                    done += start

            for rows in regrouped(retrieved(), ROW_GROUP_ROWS):
                writer.write_batch(rows)
        yield FeastFeatures(file, sha256_of(file))


def _other_rows(snapshot: Snapshot) -> WarehouseError:
    return WarehouseError(
        f"Feast gives other rows than the customers of snapshot {snapshot.run_id}: some have two of one instant and "
        "creation. Remove one, or score with scoring.features_from = lake."
    )
