"""SparkLakeRetrievalJob: Feast's Spark query, whose result comes in order, in Arrow's types, as a stream if wanted."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.repo_config import RepoConfig
from typing_extensions import override

from propensity.feast_spark.stream_directory import stream_directory
from propensity.feast_spark.types import conform

with warnings.catch_warnings():  # the module would set a filter for the whole process
    from feast.infra.offline_stores.contrib.spark_offline_store.spark import SparkRetrievalJob

DEFAULT_BATCH_ROWS = 65_536


class SparkLakeRetrievalJob(SparkRetrievalJob):
    """The result of a retrieval, computed anew by each call of a `to_…` method.

    Every result has timestamps as `timestamp[us, UTC]` and lists as plain `list<item>`; values pass through Arrow, not
    through pandas' objects.
    """

    def __init__(self, job: RetrievalJob, config: RepoConfig, *, order_by: str | None = None) -> None:
        """Take over a job of Feast's.

        Args:
            job: what to run.
            config: of the repository; `offline_store.staging_location` is where streams are put down.
            order_by: column that gives the rows' order; the result comes without it.
        """
        assert isinstance(job, SparkRetrievalJob)
        metadata = job.metadata
        if metadata is not None:
            keys = [key for key in metadata.keys if key != order_by]
            span = (metadata.min_event_timestamp, metadata.max_event_timestamp)
            metadata = RetrievalMetadata(metadata.features, keys, *span)
        super().__init__(
            spark_session=job.spark_session,
            query=job.query,
            full_feature_names=job.full_feature_names,
            config=config,
            on_demand_feature_views=job.on_demand_feature_views,
            metadata=metadata,
        )
        self._order_by = order_by

    @override
    def to_spark_df(self) -> Any:
        """Give the result as a Spark DataFrame, without on-demand features; at scale, go on from there."""
        rows = super().to_spark_df()
        return rows if self._order_by is None else rows.orderBy(self._order_by).drop(self._order_by)

    @override
    def _to_df_internal(self, timeout: int | None = None) -> Any:
        return self._to_arrow_internal(timeout).to_pandas()

    @override
    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return conform(self.to_spark_df().toArrow())

    def to_record_batches(self, batch_rows: int = DEFAULT_BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Stream the result in order, without on-demand features and without ever holding all of it.

        Spark writes it to Parquet files in a new directory of `offline_store.staging_location`, by default the
        system's for temporary files; every machine of the cluster has to see it under the same path.

        Args:
            batch_rows: rows per batch at most.

        Yields:
            record batches of one schema. The files are removed with the last one, with the generator, or, where
                the process is killed, by the next stream.
        """
        with stream_directory(self._config.offline_store.staging_location) as directory:
            self.to_spark_df().write.mode("append").parquet(f"file:{directory}")
            # Spark sorts into ranges, and numbers the files by them.
            for path in sorted(directory.glob("part-*.parquet")):
                with pq.ParquetFile(path, coerce_int96_timestamp_unit="us") as file:
                    yield from map(conform, file.iter_batches(batch_rows))
