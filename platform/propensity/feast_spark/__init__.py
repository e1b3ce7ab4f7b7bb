"""Feast's Spark offline store for a lake of Parquet files, usable without the rest of the platform.

feature_store.yaml:
    offline_store:
      type: propensity.feast_spark.store.SparkLakeOfflineStore
      base_path: ../data            # where relative source paths start; relative to the Feast repository
      spark_conf:
        spark.sql.session.timeZone: UTC

Feast's own store runs the SQL. This one adds what a lake needs: sources whose paths the registry keeps relative and
that may have no files yet, and results in the entity frame's order, in Arrow's types, as a stream if wanted.

The store needs pyspark, so it isn't imported here: a registry that names these sources can be read without.
"""

from propensity.feast_spark.errors import (
    SparkStoreError,
    UnreadableSourceError,
    UnsupportedSourceError,
    UnsupportedWriteError,
)
from propensity.feast_spark.source import SparkLakeSource
from propensity.feast_spark.types import spark_types

__all__ = [
    "SparkLakeSource",
    "SparkStoreError",
    "UnreadableSourceError",
    "UnsupportedSourceError",
    "UnsupportedWriteError",
    "spark_types",
]
