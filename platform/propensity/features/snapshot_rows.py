"""A snapshot's rows as both engines write them: sparse vectors by family, and how popular each category was."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.sparse import coo_matrix, csr_matrix

from propensity.features.regrouping import Regrouping
from propensity.warehouse.schemas import FEATURE_SCHEMA, INSTANT, POPULARITY_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

VALUE_DECIMALS = 4
"""Values are rounded: a parallel sum of floats differs in its last bits from run to run, a rebuild must not."""

ROUNDING_OFFSET = 1.2345e-9
"""Added before rounding. An average of a few amounts often lies on the middle between two decimals (541.01 / 8 =
67.62625), where those last bits decide; this way the middle is where no simple fraction lies."""

ROW_GROUP_ROWS = 16_384
"""Who reads a range of rows, as each part of a scoring does, decodes at most so many before it that it doesn't want."""

HELD_ROWS = 8 * ROW_GROUP_ROWS
"""Of all snapshots that are written at once: each holds those of a row group that isn't full. Some hundreds of MB."""


@dataclass(frozen=True)
class Entries:
    """Non-zeros of some signals.

    Attributes:
        position: Row in what is written at once, int32, (n,).
        column: What the value is of, int32, (n,): the key's number at first, then the feature_index.
        value: float32, (n,), never zero.
    """

    position: npt.NDArray[np.int32]
    column: npt.NDArray[np.int32]
    value: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Origin:
    """What all rows of a file have in common: their instant, and the run that made them."""

    as_of: datetime
    created: datetime
    region: str
    run_id: str

    def columns(self, n_rows: int) -> list[pa.Array]:
        """Return event_timestamp, created_timestamp, region and run_id of so many rows."""
        return [
            pa.repeat(pa.scalar(self.as_of, INSTANT), n_rows),
            pa.repeat(pa.scalar(self.created, INSTANT), n_rows),
            pa.repeat(self.region, n_rows),
            pa.repeat(self.run_id, n_rows),
        ]


def sparse_rows(entries: list[Entries], n_rows: int) -> csr_matrix:
    """Return entries by feature_index as a CSR, float32, (n_rows, …), indices sorted and unique in each row."""
    position, feature_index, value = (
        np.concatenate([getattr(part, name) for part in entries]) for name in ("position", "column", "value")
    )
    width = int(feature_index.max(initial=-1)) + 1
    matrix = coo_matrix((value, (position, feature_index)), shape=(n_rows, width)).tocsr()
    matrix.sort_indices()
    return matrix


def row_group_rows(snapshots: int) -> int:
    """Return the rows of a row group where so many snapshots are written at once: ROW_GROUP_ROWS or an even share."""
    return min(ROW_GROUP_ROWS, 1 << ((HELD_ROWS // snapshots).bit_length() - 1))


class FeatureFile:
    """A feature table's new file, whose row groups have as many rows each, but for the last, however rows come.

    So a part of a scoring, which is a number of row groups or an even share of one, reads nothing in vain.
    """

    def __init__(self, file: Path, group_rows: int) -> None:
        """Open it."""
        self._writer = feature_writer(file)
        self._groups = Regrouping(group_rows)

    def write(self, rows: pa.RecordBatch) -> None:
        """Append rows; those of a row group that isn't full yet are held."""
        for group in self._groups.add(rows):
            self._writer.write_batch(group)

    def close(self) -> None:
        """Write the last row group and the footer."""
        try:
            if (rest := self._groups.rest()) is not None:
                self._writer.write_batch(rest)
        finally:
            self._writer.close()


def feature_writer(file: Path) -> pq.ParquetWriter:
    """Open a feature table's new file, for who gives it whole row groups.

    A snapshot is read more often than written: by each training, evaluation and scoring. LZ4 is read much faster than
    zstd, for few more bytes where a dictionary comes first: most values are counts, and few different ones.
    """
    return pq.ParquetWriter(file, FEATURE_SCHEMA, compression="lz4", use_dictionary=True)


def feature_batch(customer_id: pa.Array, rows: csr_matrix, first: int, origin: Origin) -> pa.RecordBatch:
    """Return the customers' vectors, which are `rows` from `first` on, as rows of a feature table."""
    n_rows = len(customer_id)
    start, end = int(rows.indptr[first]), int(rows.indptr[first + n_rows])
    offsets = pa.array((rows.indptr[first : first + n_rows + 1] - start).astype(np.int32))
    return pa.RecordBatch.from_arrays(
        [
            customer_id,
            *origin.columns(n_rows),
            pa.ListArray.from_arrays(offsets, pa.array(rows.indices[start:end].astype(np.int32))),
            pa.ListArray.from_arrays(offsets, pa.array(rows.data[start:end].astype(np.float32))),
        ],
        schema=FEATURE_SCHEMA,
    )


def popularity_sql() -> str:
    """Return the text of popularity.sql, which counts each category's customers."""
    return resources.files("propensity.features").joinpath("popularity.sql").read_text()


def write_popularity(
    directory: Path, categories: Sequence[str], buyers: npt.NDArray[np.int64], n_customers: int, origin: Origin
) -> None:
    """Write a snapshot's file of `category_popularity`.

    Args:
        directory: Of the run.
        categories: Names by category_index.
        buyers: Customers who acted in each, (n_categories,).
        n_customers: Customers known at the snapshot.
        origin: Of the rows.
    """
    n = len(categories)
    pq.write_table(
        pa.Table.from_arrays(
            [
                pa.array(np.arange(n, dtype=np.int32)),
                pa.array(categories, pa.string()),
                *origin.columns(n),
                pa.array(buyers),
                pa.array((buyers / max(1, n_customers)).astype(np.float32)),
            ],
            schema=POPULARITY_SCHEMA,
        ),
        directory / "part-0.parquet",
    )
