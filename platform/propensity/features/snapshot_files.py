"""From signal tables to sparse vectors in Parquet: one file per (feature table, as_of), written bucket by bucket."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa

from propensity import columns
from propensity.features.snapshot_rows import (
    ROUNDING_OFFSET,
    VALUE_DECIMALS,
    Entries,
    FeatureFile,
    Origin,
    feature_batch,
    popularity_sql,
    row_group_rows,
    write_popularity,
)

if TYPE_CHECKING:
    import duckdb
    from scipy.sparse import csr_matrix

    from propensity.warehouse.lake import Lake


def signal_entries(connection: duckdb.DuckDBPyConnection, signals: tuple[str, ...], keys: list[str]) -> list[Entries]:
    """Return each signal's non-zeros in the connection's table `signal`, whose sorted keys are `keys`.

    The table `positions` says which row is whose.

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
        FROM signal JOIN signal_keys USING (key) JOIN positions USING (snapshot, customer_id)
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


class SnapshotFiles:
    """The runs being written, one per feature table and as_of; they appear when the block ends well."""

    def __init__(self, lake: Lake, region: str, runs: dict[datetime, str], categories: tuple[str, ...]) -> None:
        """Prepare to write `runs`: run id by as_of, in time order."""
        self._lake, self._region, self._runs, self._categories = lake, region, runs, categories
        self._created = datetime.now(UTC)
        self._buyers = np.zeros((len(runs), len(categories)), np.int64)
        self._customers = np.zeros(len(runs), np.int64)
        self._stack = ExitStack()
        self._writers: dict[tuple[str, datetime], FeatureFile] = {}
        self.n_rows = 0

    def __enter__(self) -> Self:
        """Create the staging directories."""
        with ExitStack() as stack:
            self._open(stack)
            self._stack = stack.pop_all()
        return self

    def _open(self, stack: ExitStack) -> None:
        group_rows = row_group_rows(len(self._runs))
        for as_of, run_id in self._runs.items():
            for family in columns.FAMILIES:
                table = columns.feature_view(family)
                directory = stack.enter_context(self._lake.new_run(table, self._region, run_id, as_of))
                self._writers[family, as_of] = FeatureFile(directory / "part-0.parquet", group_rows)

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
        """Take the bucket's rows from the connection's table `spine`; put their order into the table `positions`."""
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE positions AS SELECT snapshot, customer_id, "
            "row_number() OVER (ORDER BY snapshot, customer_id) - 1 AS position FROM spine"
        )
        spine = connection.execute("SELECT snapshot, customer_id FROM positions ORDER BY position").to_arrow_table()
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
            names = self._customer_id.slice(first, last - first)
            origin = Origin(as_of, self._created, self._region, run_id)
            self._writers[family, as_of].write(feature_batch(names, rows, first, origin))

    def count_popularity(self, connection: duckdb.DuckDBPyConnection, event_types: tuple[str, ...], days: int) -> None:
        """Add the bucket's customers who acted in each category in the `days` before each as_of."""
        index = {category: number for number, category in enumerate(self._categories)}
        for snapshot, category, customers in connection.execute(
            popularity_sql(), {"event_types": list(event_types), "days": days}
        ).fetchall():
            self._buyers[snapshot, index[category]] += customers

    def _write_popularity(self) -> None:
        for number, (as_of, run_id) in enumerate(self._runs.items()):
            directory = self._stack.enter_context(
                self._lake.new_run(columns.CATEGORY_POPULARITY, self._region, run_id, as_of)
            )
            origin = Origin(as_of, self._created, self._region, run_id)
            write_popularity(directory, self._categories, self._buyers[number], int(self._customers[number]), origin)
