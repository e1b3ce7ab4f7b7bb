"""Feast's universal offline-store tests against this store.

With Feast's repository at tag v0.67.0 in FEAST, its test requirements installed beside this package, and this
repository's root in ROOT:

    cd "$FEAST/sdk/python" && \\
    PYTHONPATH="$ROOT/platform:$ROOT/tests/feast_duckdb/universal:." \\
    FULL_REPO_CONFIGS_MODULE=feast_duckdb_repo_configs FEAST_IS_LOCAL_TEST=True \\
    python -m pytest --integration -m universal_offline_stores tests/integration/offline_store

Feast's own `tests` package must be the one that Python finds, so this module imports nothing of ours by that name.
UNIVERSAL_SOURCE chooses what the sources are: `path` (a directory of Parquet files, the default) or `table`.
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

from propensity.feast_duckdb import (
    DuckDBLoggingDestination,
    DuckDBOfflineStoreConfig,
    DuckDBSource,
    SavedDatasetDuckDBStorage,
)

try:
    from tests.universal.feature_repos.universal.data_source_creator import DataSourceCreator
except ImportError:  # Feast up to 0.58 kept it elsewhere; without Feast's repository the creator still works
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
    """Puts data frames where DuckDBSource reads them."""

    def __init__(self, project_name: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(project_name, *args, **kwargs)
        self.directory = Path(tempfile.mkdtemp(prefix=f"{project_name}_"))
        self.is_table = os.environ.get("UNIVERSAL_SOURCE", "path") == "table"

    def create_data_source(
        self,
        df: pd.DataFrame,
        destination_name: str,
        created_timestamp_column: str = "created_ts",
        field_mapping: dict[str, str] | None = None,
        timestamp_field: str | None = "ts",
        **_: Any,
    ) -> DuckDBSource:
        """Write a frame and give the source that reads it."""
        name = self.get_prefixed_table_name(destination_name)
        options: dict[str, Any] = {
            "name": f"{name}_{uuid.uuid4().hex}",
            "timestamp_field": timestamp_field,
            "created_timestamp_column": created_timestamp_column,
            "field_mapping": field_mapping or {"ts_1": "ts"},
        }
        rows = pa.Table.from_pandas(df, preserve_index=False)
        if self.is_table:
            database, table = self.directory / f"{uuid.uuid4().hex}.duckdb", "rows"
            with duckdb.connect(database) as connection:
                connection.register("given", rows)
                connection.execute(f"CREATE TABLE {table} AS SELECT * FROM given")
            return DuckDBSource(table=table, database=str(database), **options)
        path = self.directory / uuid.uuid4().hex
        path.mkdir()
        pq.write_table(rows, path / "0.parquet", coerce_timestamps="us", allow_truncated_timestamps=True)
        return DuckDBSource(path=str(path), **options)

    def create_offline_store_config(self) -> DuckDBOfflineStoreConfig:
        """Configure the store; every path is absolute."""
        return DuckDBOfflineStoreConfig(
            base_path=str(self.directory), staging_location=str(self.directory / "staging"), threads=2
        )

    def create_saved_dataset_destination(self) -> SavedDatasetDuckDBStorage:
        """Give a fresh place for a saved dataset."""
        return SavedDatasetDuckDBStorage(path=str(self.directory / f"saved_{uuid.uuid4().hex}"))

    def create_logged_features_destination(self) -> DuckDBLoggingDestination:
        """Give a fresh place for feature logs."""
        return DuckDBLoggingDestination(path=str(self.directory / f"logs_{uuid.uuid4().hex}"))

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
