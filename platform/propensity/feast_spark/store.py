"""SparkLakeOfflineStore and its configuration: Feast's Spark store over a lake's sources."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
import pandas as pd
import pyarrow as pa
from feast.data_source import DataSource
from feast.feature_view import FeatureView
from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import RepoConfig
from pydantic import StrictStr
from typing_extensions import override

from propensity.feast_spark.errors import UnsupportedSourceError, UnsupportedWriteError
from propensity.feast_spark.retrieval import SparkLakeRetrievalJob
from propensity.feast_spark.source import STORE, base_path_of, reading

with warnings.catch_warnings():  # the module would set a filter for the whole process
    from feast.infra.offline_stores.contrib.spark_offline_store.spark import (
        SparkOfflineStore,
        SparkOfflineStoreConfig,
        get_spark_session_or_start_new_with_repoconfig,
    )

ENTITY_ROW: Final = "feast_entity_row"
"""Column that numbers an entity frame's rows while Spark has them; the result comes without it."""


class SparkLakeOfflineStoreConfig(SparkOfflineStoreConfig):
    """The `offline_store` section of feature_store.yaml: Feast's options for Spark, and where the lake lies."""

    type: StrictStr = STORE

    base_path: str = "."
    """Directory from which paths of SparkLakeSource start; itself relative to the Feast repository. Every machine of
    the cluster sees it under the same path."""


class SparkLakeOfflineStore(SparkOfflineStore):
    """Feast's Spark offline store, reading SparkLakeSource as well as Feast's SparkSource.

    Methods start a Spark application with `spark_conf`, unless the process has a session; then that one is used.
    """

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
        filter_by_created_timestamp: bool = False,
        **kwargs: Any,
    ) -> SparkLakeRetrievalJob:
        """Join features to entity rows as they were known at each row's event time.

        Args:
            config, feature_views, feature_refs, registry, project, full_feature_names: given by Feast.
            entity_df: pandas DataFrame, whose order and duplicates the result keeps; SELECT statement or Spark
                DataFrame, whose rows come in any order; or None for every key that occurs in the views.
            filter_by_created_timestamp: leave out rows created after the entity row's event time.
            kwargs: `start_date` and `end_date` where entity_df is None.

        Raises:
            UnsupportedSourceError: a view's source is another offline store's.
        """
        for view in feature_views:
            _check(view.batch_source)
        ordered = isinstance(entity_df, pd.DataFrame)
        if ordered:
            entity_df = entity_df.assign(**{ENTITY_ROW: np.arange(len(entity_df))})
        with _spark(config):
            job = SparkOfflineStore.get_historical_features(
                config,
                feature_views,
                feature_refs,
                entity_df,
                registry,
                project,
                full_feature_names,
                filter_by_created_timestamp,
                **kwargs,
            )
        return SparkLakeRetrievalJob(job, config, order_by=ENTITY_ROW if ordered else None)

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
    ) -> SparkLakeRetrievalJob:
        """Read the newest row of each key within an inclusive time range.

        Raises:
            UnsupportedSourceError: the source is another offline store's.
        """
        _check(data_source)
        with _spark(config):
            job = SparkOfflineStore.pull_latest_from_table_or_query(
                config,
                data_source,
                join_key_columns,
                feature_name_columns,
                timestamp_field,
                created_timestamp_column,
                start_date,
                end_date,
            )
        return SparkLakeRetrievalJob(job, config)

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
    ) -> SparkLakeRetrievalJob:
        """Read every row within an inclusive time range, the creation time included.

        Raises:
            UnsupportedSourceError: the source is another offline store's.
        """
        _check(data_source)
        with _spark(config):
            job = SparkOfflineStore.pull_all_from_table_or_query(
                config,
                data_source,
                join_key_columns,
                feature_name_columns,
                timestamp_field,
                created_timestamp_column,
                start_date,
                end_date,
            )
        return SparkLakeRetrievalJob(job, config)

    @staticmethod
    @override
    def offline_write_batch(
        config: RepoConfig, feature_view: FeatureView, table: pa.Table, progress: Callable[[int], Any] | None
    ) -> NoReturn:
        """Refuse: Feast's store would write files of its own into the glob's directory.

        Raises:
            UnsupportedWriteError: always.
        """
        del config, table, progress
        raise UnsupportedWriteError(
            f"Feature view {feature_view.name!r} reads a lake that is written by those who own it, not through Feast. "
            "Write Parquet files where its source looks for them."
        )


@contextmanager
def _spark(config: RepoConfig) -> Iterator[None]:
    """Let Feast's store read the lake's sources within the block."""
    base_path: Path = base_path_of(config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # Feast's, that its Spark store is experimental
        with reading(get_spark_session_or_start_new_with_repoconfig(config.offline_store), base_path):
            yield


def _check(source: DataSource | None) -> None:
    if not isinstance(source, SparkSource):
        raise UnsupportedSourceError(
            f"{type(source).__name__} {getattr(source, 'name', '')!r} can't be read by the Spark offline store. "
            "Use SparkLakeSource, or Feast's SparkSource, and apply the repository again."
        )
