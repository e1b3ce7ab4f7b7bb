"""From signal tables to sparse vectors in Parquet: one file per (feature table, as_of), written bucket by bucket."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.sparse import coo_matrix, csr_matrix

from propensity import columns
from propensity.warehouse.schemas import FEATURE_SCHEMA, POPULARITY_SCHEMA

if TYPE_CHECKING:
    import duckdb
    import numpy.typing as npt

    from propensity.warehouse.lake import Lake

VALUE_DECIMALS = 4
"""Values are rounded: a parallel sum of floats differs in its last bits from run to run, a rebuild must not."""

ROUNDING_OFFSET = 1.2345e-9
"""Added before rounding. An average of a few amounts often lies on the middle between two decimals (541.01 / 8 =
67.62625), where those last bits decide; this way the middle is where no simple fraction lies."""

ROW_GROUP_ROWS = 16_384
"""Who reads a range of rows, as each part of a scoring does, decodes at most so many before it that it doesn't want."""


@dataclass(frozen=True)
class Entries:
    """Non-zeros of some signals.

    Attributes:
        position: Row in the bucket's spine, int32, (n,).
        column: What the value is of, int32, (n,): the key's number at first, then the feature_index.
        value: float32, (n,), never zero.
    """

    position: npt.NDArray[np.int32]
    column: npt.NDArray[np.int32]
    value: npt.NDArray[np.float32]


def signal_entries(connection: duckdb.DuckDBPyConnection, signals: tuple[str, ...], keys: list[str]) -> list[Entries]:
    """Return each signal's non-zeros in the connection's table `signal`, whose sorted keys are `keys`.

    A value beyond float32 is left out.
    """
    connection.register(
        "signal_keys",
        pa.table({"key": pa.array(keys, pa.string()), "key_number": np.arange(len(keys), dtype=np.int32)}),
    )
    rounded = ", ".join(
        f'TRY_CAST(round("{signal}"::DOUBLE + {ROUNDING_OFFSET}, {VALUE_DECIMALS}) AS FLOAT) AS value_{number}'
        for number, signal in enumerate(signals)
    )
    table = connection.execute(f"""
        SELECT position::INTEGER AS position, key_number, {rounded}
        FROM signal JOIN signal_keys USING (key) JOIN (SELECT snapshot, customer_id, position FROM spine)
        USING (snapshot, customer_id)
    """).to_arrow_table()
    connection.unregister("signal_keys")
    position = table.column("position").to_numpy()
    key_number = table.column("key_number").to_numpy()
    entries = []
    for number in range(len(signals)):
        value = table.column(f"value_{number}").to_numpy()
        stored = np.flatnonzero(np.isfinite(value) & (value != 0))
        entries.append(Entries(position[stored], key_number[stored], value[stored]))
    return entries


def sparse_rows(entries: list[Entries], n_rows: int) -> csr_matrix:
    """Return entries by feature_index as a CSR, float32, (n_rows, …), indices sorted and unique in each row."""
    position, feature_index, value = (
        np.concatenate([getattr(part, name) for part in entries]) for name in ("position", "column", "value")
    )
    width = int(feature_index.max(initial=-1)) + 1
    matrix = coo_matrix((value, (position, feature_index)), shape=(n_rows, width)).tocsr()
    matrix.sort_indices()
    return matrix


class SnapshotFiles:
    """The runs being written, one per feature table and as_of; they appear when the block ends well."""

    def __init__(self, lake: Lake, region: str, runs: dict[datetime, str], categories: tuple[str, ...]) -> None:
        """Prepare to write `runs`: run id by as_of, in time order."""
        self._lake, self._region, self._runs, self._categories = lake, region, runs, categories
        self._created = datetime.now(UTC)
        self._buyers = np.zeros((len(runs), len(categories)), np.int64)
        self._customers = np.zeros(len(runs), np.int64)
        self._stack = ExitStack()
        self._writers: dict[tuple[str, datetime], pq.ParquetWriter] = {}
        self.n_rows = 0

    def __enter__(self) -> Self:
        """Create the staging directories."""
        with ExitStack() as stack:
            self._open(stack)
            self._stack = stack.pop_all()
        return self

    def _open(self, stack: ExitStack) -> None:
        for as_of, run_id in self._runs.items():
            for family in columns.FAMILIES:
                table = columns.feature_view(family)
                directory = stack.enter_context(self._lake.new_run(table, self._region, run_id, as_of))
                self._writers[family, as_of] = pq.ParquetWriter(
                    directory / "part-0.parquet",
                    FEATURE_SCHEMA,
                    compression="zstd",
                    compression_level=1,
                    use_dictionary=["customer_id", "region", "run_id"],
                )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files and publish the runs, or drop them all when the block raised."""
        with self._stack:  # popularity last: it leaves the stack first and completes the snapshot's tables
            for writer in self._writers.values():
                writer.close()
            if error is not None:
                raise error
            self._write_popularity()

    def start_bucket(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Take the bucket's rows from the connection's table `spine`."""
        spine = connection.execute("SELECT snapshot, customer_id FROM spine ORDER BY position").to_arrow_table()
        self.n_rows = spine.num_rows
        self._customer_id = spine.column("customer_id").combine_chunks()
        snapshot = spine.column("snapshot").to_numpy()
        self._bounds = np.searchsorted(snapshot, np.arange(len(self._runs) + 1))
        self._customers += np.diff(self._bounds)

    def write_family(self, family: str, rows: csr_matrix) -> None:
        """Write the bucket's vectors of a family, each snapshot's rows to its file."""
        for number, (as_of, run_id) in enumerate(self._runs.items()):
            first, last = int(self._bounds[number]), int(self._bounds[number + 1])
            if first == last:
                continue
            start, end = int(rows.indptr[first]), int(rows.indptr[last])
            offsets = pa.array((rows.indptr[first : last + 1] - start).astype(np.int32))
            n = last - first
            self._writers[family, as_of].write_batch(
                pa.RecordBatch.from_arrays(
                    [
                        self._customer_id.slice(first, n),
                        *_constants(n, as_of, self._created, self._region, run_id),
                        pa.ListArray.from_arrays(offsets, pa.array(rows.indices[start:end].astype(np.int32))),
                        pa.ListArray.from_arrays(offsets, pa.array(rows.data[start:end].astype(np.float32))),
                    ],
                    schema=FEATURE_SCHEMA,
                ),
                ROW_GROUP_ROWS,
            )

    def count_popularity(self, connection: duckdb.DuckDBPyConnection, event_types: tuple[str, ...], days: int) -> None:
        """Add the bucket's customers who acted in each category in the `days` before each as_of."""
        index = {category: number for number, category in enumerate(self._categories)}
        for snapshot, category, customers in connection.execute(
            "SELECT snapshot, category, count(DISTINCT customer_id) FROM category_history "
            "WHERE list_contains(?, event_type) AND age_days <= ? GROUP BY ALL",
            [list(event_types), days],
        ).fetchall():
            self._buyers[snapshot, index[category]] += customers

    def _write_popularity(self) -> None:
        n = len(self._categories)
        for number, (as_of, run_id) in enumerate(self._runs.items()):
            directory = self._stack.enter_context(
                self._lake.new_run(columns.CATEGORY_POPULARITY, self._region, run_id, as_of)
            )
            buyers = self._buyers[number]
            pq.write_table(
                pa.Table.from_arrays(
                    [
                        pa.array(np.arange(n, dtype=np.int32)),
                        pa.array(self._categories, pa.string()),
                        *_constants(n, as_of, self._created, self._region, run_id),
                        pa.array(buyers),
                        pa.array((buyers / max(1, self._customers[number])).astype(np.float32)),
                    ],
                    schema=POPULARITY_SCHEMA,
                ),
                directory / "part-0.parquet",
            )


def _constants(n: int, as_of: datetime, created: datetime, region: str, run_id: str) -> list[pa.Array]:
    instant = pa.timestamp("us", "UTC")
    return [
        pa.repeat(pa.scalar(as_of, instant), n),
        pa.repeat(pa.scalar(created, instant), n),
        pa.repeat(region, n),
        pa.repeat(run_id, n),
    ]
