"""Feast's universal offline-store tests against this store.

With Feast's repository at tag v0.67.0 in FEAST, its test requirements installed beside this package, and this
repository's root in ROOT:

    cd "$FEAST/sdk/python" && \\
    PYTHONPATH="$ROOT/platform:$ROOT/tests/feast_duckdb/universal:." \\
    FULL_REPO_CONFIGS_MODULE=feast_duckdb_repo_configs FEAST_IS_LOCAL_TEST=True \\
    python -m pytest --integration -m universal_offline_stores tests/universal/offline_store

Feast moved these tests from `tests/integration/offline_store` in 2026, and later dropped the option `--integration`:
name the directory that is there, or both, and leave the option out where pytest doesn't know it.

Feast's own `tests` package must be the one that Python finds, so this module imports nothing of ours by that name.
UNIVERSAL_SOURCE chooses what the sources and destinations are: `path` (directories of Parquet files, the default),
`table` (tables of one DuckDB file), or `file` (Feast's own FileSource on one Parquet file, as for the stock store).
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import FileSource
from feast.data_format import ParquetFormat
from feast.data_source import DataSource
from feast.feature_logging import LoggingDestination
from feast.infra.offline_stores.file_source import FileLoggingDestination, SavedDatasetFileStorage
from feast.saved_dataset import SavedDatasetStorage

from propensity.feast_duckdb import (
    DuckDBLoggingDestination,
    DuckDBOfflineStoreConfig,
    DuckDBSource,
    SavedDatasetDuckDBStorage,
)

try:
    from tests.universal.feature_repos.universal.data_source_creator import DataSourceCreator
except ImportError:  # earlier in 2026 it lay elsewhere; without Feast's repository the creator still works
    try:
        from tests.integration.feature_repos.universal.data_source_creator import DataSourceCreator
    except ImportError:

        class DataSourceCreator:  # type: ignore[no-redef]
            """The part of Feast's base class that matters here."""

            def __init__(self, project_name: str, *args: Any, **kwargs: Any) -> None:
                self.project_name = project_name

            def setup(self, registry: Any) -> None:
                """Do nothing."""


class DuckDBSourceCreator(DataSourceCreator):
    """Puts data frames where this store reads them."""

    def __init__(self, project_name: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(project_name, *args, **kwargs)
        self.directory = Path(tempfile.mkdtemp(prefix=f"{project_name}_"))
        self.kind = os.environ.get("UNIVERSAL_SOURCE", "path")
        if self.kind not in ("path", "table", "file"):
            raise ValueError(f"UNIVERSAL_SOURCE is path, table or file, not {self.kind!r}.")

    def create_data_source(
        self,
        df: pd.DataFrame,
        destination_name: str,
        created_timestamp_column: str | None = "created_ts",
        field_mapping: dict[str, str] | None = None,
        timestamp_field: str | None = "ts",
        **_: Any,
    ) -> DataSource:
        """Write a frame and give the source that reads it."""
        name = f"{self.get_prefixed_table_name(destination_name)}_{uuid.uuid4().hex}"
        options: dict[str, Any] = {
            "name": name,
            "timestamp_field": timestamp_field,
            "created_timestamp_column": created_timestamp_column,
            "field_mapping": field_mapping or {"ts_1": "ts"},
        }
        if self.kind == "file":
            df.to_parquet(self.directory / f"{name}.parquet")
            return FileSource(path=str(self.directory / f"{name}.parquet"), file_format=ParquetFormat(), **options)
        rows = pa.Table.from_pandas(df, preserve_index=False)
        if self.kind == "table":
            with duckdb.connect(self._database) as connection:
                connection.register("given", rows)
                connection.execute(f'CREATE TABLE "{name}" AS SELECT * FROM given')
            return DuckDBSource(table=name, database=self._database, **options)
        path = self.directory / name
        path.mkdir()
        pq.write_table(rows, path / "0.parquet", coerce_timestamps="us", allow_truncated_timestamps=True)
        return DuckDBSource(path=str(path), **options)

    def create_offline_store_config(self) -> DuckDBOfflineStoreConfig:
        """Configure the store; every path is absolute."""
        return DuckDBOfflineStoreConfig(
            base_path=str(self.directory), staging_location=str(self.directory / "staging"), threads=2
        )

    def create_saved_dataset_destination(self) -> SavedDatasetStorage:
        """Give a fresh place for a saved dataset."""
        name = f"saved_{uuid.uuid4().hex}"
        if self.kind == "file":
            return SavedDatasetFileStorage(path=str(self.directory / name), file_format=ParquetFormat())
        if self.kind == "table":
            return SavedDatasetDuckDBStorage(table=name, database=self._database)
        return SavedDatasetDuckDBStorage(path=str(self.directory / name))

    def create_logged_features_destination(self) -> LoggingDestination:
        """Give a fresh place for feature logs."""
        name = f"logs_{uuid.uuid4().hex}"
        if self.kind == "file":
            return FileLoggingDestination(path=str(self.directory / name))
        if self.kind == "table":
            return DuckDBLoggingDestination(table=name, database=self._database)
        return DuckDBLoggingDestination(path=str(self.directory / name))

    @property
    def _database(self) -> str:
        return str(self.directory / "universal.duckdb")

    def get_prefixed_table_name(self, suffix: str) -> str:
        """Name a table within the project."""
        return f"{self.project_name}_{suffix}"

    @staticmethod
    def test_markers() -> list[Any]:
        """Mark nothing."""
        return []

    @staticmethod
    def xdist_groups() -> list[str]:
        """Share nothing between tests."""
        return []

    def teardown(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.directory, ignore_errors=True)


AVAILABLE_OFFLINE_STORES = [("local", DuckDBSourceCreator)]
AVAILABLE_ONLINE_STORES = {"sqlite": ({"type": "sqlite"}, None)}
