"""DuckDBOfflineStore and its configuration, as Feast's offline store plugin interface wants them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from feast.data_source import DataSource
from feast.feature_logging import LoggingConfig, LoggingSource
from feast.feature_view import FeatureView
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.utils import compute_non_entity_date_range
from pydantic import Field, StrictStr
from typing_extensions import override

from propensity.feast_duckdb import location, writes
from propensity.feast_duckdb.connection import Session, SessionSettings
from propensity.feast_duckdb.errors import SourceDefinitionError, UnsupportedWriteError
from propensity.feast_duckdb.historical import HistoricalRequest
from propensity.feast_duckdb.logging_destination import DuckDBLoggingDestination
from propensity.feast_duckdb.opening import open_relation
from propensity.feast_duckdb.pull import Pull, pull_script
from propensity.feast_duckdb.request import Script
from propensity.feast_duckdb.retrieval import DuckDBRetrievalJob
from propensity.feast_duckdb.spine import entity_table, keys_and_range


class DuckDBOfflineStoreConfig(FeastConfigBaseModel):
    """The `offline_store` section of feature_store.yaml."""

    type: StrictStr = "propensity.feast_duckdb.DuckDBOfflineStore"

    base_path: str = "."
    """Directory from which relative paths of DuckDBSource start; itself relative to the Feast repository."""

    memory_limit: str | None = None
    """DuckDB's memory per job, such as "2GB"; beyond it, joins and sorts spill. By default 80% of all."""

    threads: int | None = Field(default=None, ge=1)
    """DuckDB's threads per job. By default every core, but one for up to 122,880 entity rows from at most 1 GB of
    Parquet files: there a second thread saves a fraction of a second, and costs CPU time on a busy machine."""

    temp_directory: str | None = None
    """Where jobs spill, each in a directory of its own that it removes. By default the system's."""

    lock_timeout_seconds: float = Field(default=10.0, ge=0)
    """How long to wait for a DuckDB file that somebody else holds."""

    staging_location: str | None = None
    """Where `to_remote_storage` exports: a directory (relative to base_path), or a URL that pyarrow can write."""


class DuckDBOfflineStore(OfflineStore):
    """Feast's offline store on DuckDB: Parquet, tables and queries, read in place.

    Every method returns at once; sources are read when the job's result is asked for.
    """

    supports_filter_by_created_timestamp = True

    @staticmethod
    @override
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: Any,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        *,
        filter_by_created_timestamp: bool = False,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> DuckDBRetrievalJob:
        """Join features to entity rows as they were known at each row's event time.

        Args:
            config, feature_views, feature_refs, registry, project, full_feature_names: given by Feast.
            entity_df: pandas DataFrame, Arrow table, SELECT statement, or None for every (keys, event time)
                that occurs in the views between `start_date` and `end_date`. Rows come back in its order,
                duplicates included; zoneless times are UTC.
            filter_by_created_timestamp: leave out rows created after the entity row's event time.
            start_date: inclusive; by default the longest ttl, or 30 days, before `end_date`.
            end_date: inclusive; by default now.
        """
        settings = SessionSettings.of(config)
        request = HistoricalRequest(
            feature_views, feature_refs, full_feature_names, known_only=filter_by_created_timestamp
        )
        metadata: RetrievalMetadata | Callable[[], RetrievalMetadata]
        if entity_df is None:
            start, end = compute_non_entity_date_range(feature_views, start_date=start_date, end_date=end_date)
            plan = request.of_range(start, end)
            metadata = RetrievalMetadata(feature_refs, request.join_keys(), start, end)
        elif isinstance(entity_df, str):
            plan = request.of_query(entity_df)
            metadata = partial(request.metadata_of_query, settings, entity_df)
        else:
            rows = entity_table(entity_df)
            plan = request.of_frame(rows)
            metadata = RetrievalMetadata(feature_refs, *keys_and_range(rows))
        return DuckDBRetrievalJob(
            settings,
            plan,
            full_feature_names=full_feature_names,
            on_demand_feature_views=OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry),
            metadata=metadata,
        )

    @staticmethod
    @override
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> DuckDBRetrievalJob:
        """Read the newest row of each key within an inclusive time range; see `pull_script`."""
        pull = Pull(
            join_key_columns,
            feature_name_columns,
            timestamp_field,
            created_timestamp_column or None,
            start_date,
            end_date,
        )
        return _pull_job(config, data_source, pull, latest=True)

    @staticmethod
    @override
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> DuckDBRetrievalJob:
        """Read every row within an inclusive time range, the creation time included."""
        pull = Pull(
            join_key_columns,
            feature_name_columns,
            timestamp_field,
            created_timestamp_column or None,
            start_date,
            end_date,
        )
        return _pull_job(config, data_source, pull, latest=False)

    @staticmethod
    @override
    def offline_write_batch(
        config: RepoConfig,
        feature_view: FeatureView,
        table: pa.Table,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Append rows to a view's source, as a new file or in one transaction; see `writes.append`."""
        if feature_view.batch_source is None:
            raise SourceDefinitionError(f"Feature view {feature_view.name!r} has no batch source to write to.")
        writes.append(SessionSettings.of(config), feature_view.batch_source, table)
        if progress is not None:
            progress(table.num_rows)

    @staticmethod
    @override
    def write_logged_features(
        config: RepoConfig,
        data: pa.Table | Path,
        source: LoggingSource,
        logging_config: LoggingConfig,
        registry: BaseRegistry,
    ) -> None:
        """Append feature logs: new files in a directory, or one transaction on a table.

        Raises:
            UnsupportedWriteError: the destination is of another kind.
        """
        destination = logging_config.destination
        if isinstance(destination, DuckDBLoggingDestination):
            rows = pq.read_table(data) if isinstance(data, Path) else data
            writes.append_logs(SessionSettings.of(config), destination.to_data_source(), rows)
            return
        if not isinstance(destination, FileLoggingDestination) or location.is_remote(destination.path):
            raise UnsupportedWriteError(
                f"Feature logs can't go to {type(destination).__name__}; use DuckDBLoggingDestination, or "
                "FileLoggingDestination with a local path."
            )
        settings = SessionSettings.of(config)
        directory = Path(location.absolute(settings.repo_path, destination.path))
        rows = pq.read_table(data) if isinstance(data, Path) else data
        if destination.partition_by:
            writes.write_partitioned(settings, directory, rows, destination.partition_by)
        else:
            writes.write_new_file(directory, rows)


def _pull_job(config: RepoConfig, source: DataSource, pull: Pull, *, latest: bool) -> DuckDBRetrievalJob:
    def plan(session: Session) -> Script:
        return pull_script(open_relation(session, source), pull, latest=latest)

    return DuckDBRetrievalJob(SessionSettings.of(config), plan)
