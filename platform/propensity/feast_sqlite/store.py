"""NewestSqliteOnlineStore: Feast's sqlite online store, in which an older row never overwrites a newer one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Literal, Self

import pyarrow as pa
from feast.feature_view import FeatureView
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import compute_table_id, extract_text_and_num
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import RepoConfig
from feast.types import String
from feast.utils import _convert_arrow_to_proto
from pydantic import Field, model_validator
from typing_extensions import override

from propensity.feast_sqlite.encoding import encoded_keys, encoded_values

Row = tuple[EntityKey, dict[str, Value], datetime, datetime | None]
"""As Feast gives it: key, feature name -> value, event time, creation time; naive times are UTC."""

_CACHE_KILOBYTES = 65_536

Cells = tuple[bytes, str, bytes, str | None, int | None, int | None]
"""What the table's columns hold: a line per key and feature."""

_UPSERT = """
INSERT INTO {table} (entity_key, feature_name, value, value_text, event_ts, created_ts)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (entity_key, feature_name) DO UPDATE SET
    value = excluded.value,
    value_text = excluded.value_text,
    event_ts = excluded.event_ts,
    created_ts = excluded.created_ts
WHERE (excluded.event_ts, coalesce(excluded.created_ts, 0)) >= (event_ts, coalesce(created_ts, 0))
"""


class NewestSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):
    """The `online_store` section of feature_store.yaml."""

    type: Literal["propensity.feast_sqlite.NewestSqliteOnlineStore"] = "propensity.feast_sqlite.NewestSqliteOnlineStore"  # type: ignore[assignment]

    busy_timeout_seconds: float = Field(default=60.0, ge=0)
    """How long a writer waits for another one's batch; Feast's own store gives up after 5 s."""

    @model_validator(mode="after")
    def _no_vectors(self) -> Self:
        if self.vector_enabled or self.enable_openai_compatible_store:
            raise ValueError("vector_enabled and enable_openai_compatible_store need Feast's own SqliteOnlineStore")
        return self


class NewestSqliteOnlineStore(SqliteOnlineStore):
    """Feast's sqlite store with its tables and its reading, written by several processes.

    Of two rows of a key the one with the later event time stays, then the one created later, to the second; equal ones
    overwrite. A batch appears whole: it is one transaction. Write-ahead logging lets readers read meanwhile, which
    needs a local disk.
    """

    @override
    def _get_conn(self, config: RepoConfig) -> sqlite3.Connection:
        if self._conn is None:
            connection: sqlite3.Connection = super()._get_conn(config)
            connection.execute(f"PRAGMA busy_timeout = {int(1000 * config.online_store.busy_timeout_seconds)}")
            connection.execute(f"PRAGMA cache_size = {-_CACHE_KILOBYTES}")
            # Kept in the file: whoever opens it later, also with Feast's own store, reads beside a writer.
            connection.execute("PRAGMA journal_mode = WAL")
        assert self._conn is not None
        return self._conn

    @override
    def online_write_batch(
        self, config: RepoConfig, table: FeatureView, data: list[Row], progress: Callable[[int], Any] | None
    ) -> None:
        """Write rows of a view, but none over a newer one.

        Raises:
            sqlite3.OperationalError: another writer kept the file for longer than `busy_timeout_seconds`, or the view
                was never applied.
        """
        self._upsert(config, table, _cells(data, config.entity_key_serialization_version))
        if progress:
            progress(len(data))

    def write_arrow(self, config: RepoConfig, table: FeatureView, batch: pa.RecordBatch) -> None:
        """Write a batch of a view's source as `online_write_batch` writes what Feast makes of it, at less cost.

        Args:
            batch: Has the view's keys, features, event time and, if the source has one, creation time.

        Raises:
            sqlite3.OperationalError: As for `online_write_batch`.
        """
        cells = _cells_of_arrow(table, batch, config.entity_key_serialization_version)
        if cells is not None:
            self._upsert(config, table, cells)
            return
        kinds = {entity.name: entity.dtype.to_value_type() for entity in table.entity_columns}
        self.online_write_batch(config, table, _convert_arrow_to_proto(batch, table, kinds), None)

    def _upsert(self, config: RepoConfig, table: FeatureView, cells: Iterable[Cells]) -> None:
        connection = self._get_conn(config)
        versioned = config.registry.enable_online_feature_view_versioning
        name = compute_table_id(config.project, table, versioned).replace('"', '""')
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_UPSERT.format(table=f'"{name}"'), cells)


def _cells_of_arrow(table: FeatureView, batch: pa.RecordBatch, key_version: int) -> Iterator[Cells] | None:
    """Return the lines of a batch; None where it has what only Feast's own conversion reads."""
    if len(table.entity_columns) != 1 or table.batch_source is None:
        return None
    source, (entity,) = table.batch_source, table.entity_columns
    keys = encoded_keys(entity.name, batch.column(entity.name), key_version)
    values = {feature.name: encoded_values(batch.column(feature.name), feature.dtype) for feature in table.features}
    if keys is None or None in values.values():
        return None
    events = _seconds_of(batch.column(source.timestamp_field))
    no_times = [None] * batch.num_rows
    created = source.created_timestamp_column
    creations = _seconds_of(batch.column(created)) if created else no_times
    texts = {
        feature.name: batch.column(feature.name).to_pylist() if feature.dtype == String else no_times
        for feature in table.features
    }
    return (
        (keys[row], name, of_feature[row], texts[name][row], events[row], creations[row])
        for row in range(batch.num_rows)
        for name, of_feature in values.items()
        if of_feature is not None
    )


def _seconds_of(instants: pa.Array) -> list[int | None]:
    zoned = instants.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    return [None if us is None else us // 1_000_000 for us in zoned.to_pylist()]


def _cells(data: list[Row], key_version: int) -> Iterator[Cells]:
    for key, values, event_timestamp, created_timestamp in data:
        serialized = serialize_entity_key(key, entity_key_serialization_version=key_version)
        event, created = _seconds(event_timestamp), _seconds(created_timestamp)
        assert event is not None  # Feast never gives a row without
        for name, value in values.items():
            text, _ = extract_text_and_num(value, compute_num=False)
            yield serialized, name, value.SerializeToString(), text, event, created


def _seconds(instant: datetime | None) -> int | None:
    # As Feast's store writes it in a process whose time zone is UTC; elsewhere that one would be off by hours.
    if instant is None:
        return None
    return int((instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp())
