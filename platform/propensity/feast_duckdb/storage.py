"""Where saved datasets go: Parquet, or a table of a DuckDB file."""

from __future__ import annotations

import json

from feast.data_source import DataSource
from feast.protos.feast.core.DataSource_pb2 import DataSource as DataSourceProto
from feast.protos.feast.core.SavedDataset_pb2 import SavedDatasetStorage as SavedDatasetStorageProto
from feast.saved_dataset import _DATA_SOURCE_TO_SAVED_DATASET_STORAGE, SavedDatasetStorage

from propensity.feast_duckdb.errors import SourceDefinitionError
from propensity.feast_duckdb.source import DuckDBSource

# Feast has no public way to tell SavedDatasetStorage.from_data_source of a plugin's storage.
_DATA_SOURCE_TO_SAVED_DATASET_STORAGE["DuckDBSource"] = "propensity.feast_duckdb.SavedDatasetDuckDBStorage"


class SavedDatasetDuckDBStorage(SavedDatasetStorage):
    """A place for a saved dataset. Feast's SavedDatasetFileStorage works too.

    Args:
        path: a file ending in `.parquet`, or a directory; relative to `offline_store.base_path`.
        table: a table of `database`, which is created if it doesn't exist.
        database: path of a DuckDB file; relative to `offline_store.base_path`.

    Raises:
        SourceDefinitionError: neither a path nor a table with its database is given, or both are.
    """

    _proto_attr_name = "custom_storage"

    def __init__(self, *, path: str | None = None, table: str | None = None, database: str | None = None) -> None:
        if (path is None) == (table is None) or (table is None) != (database is None):
            raise SourceDefinitionError("SavedDatasetDuckDBStorage needs a path, or a table and its database.")
        self.path = path
        self.table = table
        self.database = database

    @staticmethod
    def from_proto(storage_proto: SavedDatasetStorageProto) -> SavedDatasetDuckDBStorage:
        """Read the storage from a registry."""
        options = json.loads(storage_proto.custom_storage.configuration)
        return SavedDatasetDuckDBStorage(path=options["path"], table=options["table"], database=options["database"])

    def to_proto(self) -> SavedDatasetStorageProto:
        """Write the storage for a registry."""
        options = {"path": self.path, "table": self.table, "database": self.database}
        configuration = json.dumps(options, sort_keys=True).encode()
        return self._custom_storage_proto(DataSourceProto.CustomSourceOptions(configuration=configuration))

    def to_data_source(self) -> DataSource:
        """Give the source that reads the dataset back."""
        return DuckDBSource(path=self.path, table=self.table, database=self.database)

    @staticmethod
    def from_data_source(data_source: DataSource) -> SavedDatasetDuckDBStorage:
        """Give the storage whose dataset a source reads."""
        if not isinstance(data_source, DuckDBSource):
            raise SourceDefinitionError(f"{type(data_source).__name__} isn't a DuckDBSource.")
        return SavedDatasetDuckDBStorage(path=data_source.path, table=data_source.table, database=data_source.database)
