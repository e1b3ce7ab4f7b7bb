"""DuckDBRetrievalJob: a query that runs when its result is asked for, on a connection of its own."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

import duckdb
import pyarrow as pa
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.saved_dataset import SavedDatasetStorage
from typing_extensions import override

from propensity.feast_duckdb import types, writes
from propensity.feast_duckdb.connection import Session, SessionSettings, open_session
from propensity.feast_duckdb.errors import UnsupportedWriteError
from propensity.feast_duckdb.request import Script
from propensity.feast_duckdb.script_text import script_text

DEFAULT_BATCH_ROWS = 65_536
# One batch is one chunk, whose lists a CSR uses without a copy. Arrow's 32-bit offsets hold 2**31 elements a
# batch, so long lists take smaller ones.
_TABLE_BATCH_ROWS = (1 << 20, 1 << 14, 1 << 11)

Plan = Callable[[Session], Script]


_streams: WeakSet[Generator[pa.RecordBatch]] = WeakSet()


@atexit.register
def _close_streams() -> None:
    """Close the streams that nobody did, while there are still modules: later their own clean-up would find none."""
    for stream in tuple(_streams):
        with suppress(ValueError):  # a daemon's thread is in it this moment
            stream.close()


class DuckDBRetrievalJob(RetrievalJob):
    """The result of a retrieval, computed anew by each call of a `to_…` method.

    Every result has timestamps as `timestamp[us, UTC]` and lists as plain `list<item>`. Each call opens and
    closes its own connection, so a job may be used from several threads at once. Sources are read when a
    result is asked for, not when the job is made.

    Args:
        settings: how to connect.
        plan: writes the SQL, given an open session with its sources attached.
        full_feature_names: as in FeatureStore.get_historical_features.
        on_demand_feature_views: computed on each batch after the query.
        metadata: what was asked for, or a function that finds out when asked.
    """

    def __init__(
        self,
        settings: SessionSettings,
        plan: Plan,
        *,
        full_feature_names: bool = False,
        on_demand_feature_views: Sequence[OnDemandFeatureView] = (),
        metadata: RetrievalMetadata | Callable[[], RetrievalMetadata] | None = None,
    ) -> None:
        self._settings = settings
        self._plan = plan
        self._full_feature_names = full_feature_names
        self._on_demand_feature_views = list(on_demand_feature_views)
        self._metadata = metadata

    @property
    def full_feature_names(self) -> bool:
        """Whether feature names carry their view's name."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """The on-demand views that are computed on the result."""
        return self._on_demand_feature_views

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """Features, keys and time range; for a SQL entity query this runs the query once."""
        if callable(self._metadata):
            self._metadata = self._metadata()
        return self._metadata

    @contextmanager
    def _running(self, timeout: float | None) -> Iterator[tuple[Session, Script]]:
        with open_session(self._settings) as session:
            timer = threading.Timer(timeout, session.connection.interrupt) if timeout else None
            if timer is not None:
                timer.start()
            try:
                script = self._plan(session)
                if script.is_modest and self._settings.threads is None:
                    session.execute("SET threads = 1")
                if script.preparation:
                    with session.on_one_thread():
                        for statement in script.preparation:
                            session.execute(statement)
                for statement in script.statements:
                    session.execute(statement)
                yield session, script
            except duckdb.InterruptException as error:
                raise TimeoutError(f"The retrieval took longer than {timeout} s.") from error
            finally:
                if timer is not None:
                    timer.cancel()

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        with self._running(timeout) as (session, script):
            columns: list[pa.ChunkedArray] = []
            for query in script.pieces or (script.query,):
                columns += _table(session, query).columns
            rows = pa.table(columns, names=[str(place) for place in range(len(columns))])
            return types.conform(rows, types.boundary_schema(rows.schema, script.names))

    def to_record_batches(
        self, batch_rows: int = DEFAULT_BATCH_ROWS, timeout: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Stream the result in order, on-demand features included, without ever holding all of it.

        Args:
            batch_rows: rows per batch at most; DuckDB rounds to multiples of 2,048.
            timeout: seconds after which the query is interrupted.

        Yields:
            record batches of one schema. The connection closes with the last one, with the generator, or with the
                interpreter.
        """
        stream = self._stream(batch_rows, timeout)
        _streams.add(stream)
        return stream

    def _stream(self, batch_rows: int, timeout: int | None) -> Generator[pa.RecordBatch]:
        with self._running(timeout) as (session, script):
            reader = session.execute(script.query).to_arrow_reader(batch_rows)
            schema = types.boundary_schema(reader.schema, script.names)
            for batch in reader:
                yield from self._transformed(pa.Table.from_batches([types.conform(batch, schema)]))

    def to_arrow_reader(self, batch_rows: int = DEFAULT_BATCH_ROWS) -> pa.RecordBatchReader:
        """Stream the result as a RecordBatchReader, which DuckDB, Polars and Arrow datasets read directly.

        Args:
            batch_rows: as in `to_record_batches`.
        """
        batches = self.to_record_batches(batch_rows)
        first = next(batches, None)
        if first is None:
            return self.to_arrow().to_reader()

        def chained() -> Iterator[pa.RecordBatch]:
            yield first
            yield from batches

        return pa.RecordBatchReader.from_batches(first.schema, chained())

    def _transformed(self, rows: pa.Table) -> list[pa.RecordBatch]:
        if self._on_demand_feature_views:
            rows = _Computed(rows, self).to_arrow()
        return list(rows.combine_chunks().to_batches())

    def to_sql(self) -> str:
        """Give the SQL that computes the result, as a script that runs by hand in DuckDB.

        Entity rows given as a frame are written into it if they are few; otherwise a comment says what table
        the script expects. On-demand features are not part of it.
        """
        with open_session(self._settings) as session:
            return script_text(session, self._plan(session))

    @override
    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the result, on-demand features included, to Parquet or to a DuckDB table.

        Nothing appears at the destination until all of it is there.

        Args:
            storage: SavedDatasetDuckDBStorage, or Feast's SavedDatasetFileStorage.
            allow_overwrite: whether to replace what is there.
            timeout: seconds after which the query is interrupted.

        Raises:
            SavedDatasetLocationAlreadyExists: something is there, and `allow_overwrite` is False.
        """
        writes.persist(
            self._settings,
            storage.to_data_source(),
            lambda: self.to_record_batches(timeout=timeout),
            lambda: self.to_arrow(timeout=timeout),
            allow_overwrite=allow_overwrite,
        )

    @override
    def supports_remote_storage_export(self) -> bool:
        """Tell whether `offline_store.staging_location` is set."""
        return self._settings.staging_location is not None

    @override
    def to_remote_storage(self) -> list[str]:
        """Export the result, on-demand features included, as Parquet files under `offline_store.staging_location`.

        Returns:
            the files' paths or URLs, in the result's order, in a new directory of their own.

        Raises:
            UnsupportedWriteError: no staging location is configured.
        """
        if self._settings.staging_location is None:
            raise UnsupportedWriteError("to_remote_storage needs offline_store.staging_location in feature_store.yaml.")
        reader = self.to_arrow_reader()
        return writes.export(self._settings.staging_location, reader.schema, reader)


def _table(session: Session, query: str) -> pa.Table:
    for batch_rows in _TABLE_BATCH_ROWS[:-1]:
        try:
            return session.execute(query).to_arrow_table(batch_rows)
        except duckdb.InvalidInputException as error:
            if "offset" not in str(error):
                raise
    return session.execute(query).to_arrow_table(_TABLE_BATCH_ROWS[-1])


class _Computed(RetrievalJob):
    """Rows that are already here, so that Feast's own code computes on-demand features on them."""

    def __init__(self, rows: pa.Table, job: DuckDBRetrievalJob) -> None:
        self._rows = rows
        self._job = job

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:  # noqa: ARG002
        return self._rows

    @property
    def full_feature_names(self) -> bool:
        return self._job.full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return self._job.on_demand_feature_views

    @property
    def metadata(self) -> Any:
        return self._job.metadata
