"""A native DuckDB offline store for Feast, usable without the rest of the platform.

feature_store.yaml:
    offline_store:
      type: propensity.feast_duckdb.DuckDBOfflineStore
      base_path: ../data            # where relative source paths start; relative to the Feast repository
    registry:
      registry_store_type: propensity.feast_duckdb.AtomicFileRegistryStore
      path: data/registry.pb
"""

from propensity.feast_duckdb.errors import (
    DatabaseLockedError,
    DuckDBStoreError,
    EntityFrameError,
    MissingColumnError,
    SourceDefinitionError,
    SourceNotFoundError,
    UnsupportedSourceError,
    UnsupportedWriteError,
)
from propensity.feast_duckdb.logging_destination import DuckDBLoggingDestination
from propensity.feast_duckdb.registry_store import AtomicFileRegistryStore
from propensity.feast_duckdb.retrieval import DuckDBRetrievalJob
from propensity.feast_duckdb.source import DuckDBSource
from propensity.feast_duckdb.storage import SavedDatasetDuckDBStorage
from propensity.feast_duckdb.store import DuckDBOfflineStore, DuckDBOfflineStoreConfig

__all__ = [
    "AtomicFileRegistryStore",
    "DatabaseLockedError",
    "DuckDBLoggingDestination",
    "DuckDBOfflineStore",
    "DuckDBOfflineStoreConfig",
    "DuckDBRetrievalJob",
    "DuckDBSource",
    "DuckDBStoreError",
    "EntityFrameError",
    "MissingColumnError",
    "SavedDatasetDuckDBStorage",
    "SourceDefinitionError",
    "SourceNotFoundError",
    "UnsupportedSourceError",
    "UnsupportedWriteError",
]
