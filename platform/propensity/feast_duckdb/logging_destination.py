"""Where feature logs go: a directory of Parquet files, or a table of a DuckDB file."""

from __future__ import annotations

from feast.data_source import DataSource
from feast.feature_logging import LoggingDestination
from feast.protos.feast.core.FeatureService_pb2 import LoggingConfig as LoggingConfigProto

from propensity.feast_duckdb.errors import SourceDefinitionError
from propensity.feast_duckdb.source import DuckDBSource


class DuckDBLoggingDestination(LoggingDestination):
    """A place for feature logs. Feast's FileLoggingDestination works too.

    Args:
        path: a directory, relative to `offline_store.base_path`; each flush adds a file.
        table: a table of `database`, which the first flush creates; each flush is one transaction.
        database: path of a DuckDB file, relative to `offline_store.base_path`.

    Raises:
        SourceDefinitionError: neither a path nor a table with its database is given, or both are.
    """

    _proto_kind = "propensity_feast_duckdb"

    def __init__(self, *, path: str | None = None, table: str | None = None, database: str | None = None) -> None:
        if (path is None) == (table is None) or (table is None) != (database is None):
            raise SourceDefinitionError("DuckDBLoggingDestination needs a path, or a table and its database.")
        self.path = path
        self.table = table
        self.database = database

    @classmethod
    def from_proto(cls, config_proto: LoggingConfigProto) -> DuckDBLoggingDestination:
        """Read the destination from a registry."""
        return cls(**dict(config_proto.custom_destination.config))

    def to_proto(self) -> LoggingConfigProto:
        """Write the destination for a registry."""
        options = {"path": self.path, "table": self.table, "database": self.database}
        given = {name: value for name, value in options.items() if value is not None}
        custom = LoggingConfigProto.CustomDestination(kind=self._proto_kind, config=given)
        return LoggingConfigProto(custom_destination=custom)

    def to_data_source(self) -> DataSource:
        """Give the source that reads the logs back; before the first flush a directory reads as empty."""
        if self.path is not None:
            return DuckDBSource(path=self.path, allow_empty=True)
        return DuckDBSource(table=self.table, database=self.database)
