"""DuckDBSource: Parquet files, a table of a DuckDB file, or a query, as a Feast data source."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from feast.data_source import DataSource
from feast.protos.feast.core.DataSource_pb2 import DataSource as DataSourceProto
from feast.value_type import ValueType

from propensity.feast_duckdb import location, types
from propensity.feast_duckdb.connection import Session, SessionSettings, open_session
from propensity.feast_duckdb.dialect import qualified, text
from propensity.feast_duckdb.errors import SourceDefinitionError
from propensity.feast_duckdb.relation import Relation, relation_of_files, relation_of_query, relation_of_table

# The path by which Feast finds the class again when it reads a registry; it must never change.
_CLASS_PATH = "propensity.feast_duckdb.DuckDBSource"


class DuckDBSource(DataSource):
    """A source that the DuckDB offline store reads in place.

    Give exactly one of `path`, `table` and `query`. Relative paths start at `offline_store.base_path`, which
    itself starts at the Feast repository; the registry keeps them relative.

    Args:
        name: unique name in the project; by default the path or table.
        path: a Parquet file, a directory (read recursively), a glob or a URL. Files and directories whose
            names start with "." or "_" are skipped where a directory or wildcard finds them.
        table: a table or view of `database`, optionally with its schema: `"main.purchases"`.
        query: a SELECT, run in `database` if that is given. `{base_path}` stands for the base directory.
        database: path of a DuckDB file; opened read-only, and only while a job runs.
        timestamp_field: when a row's values became true. Zoneless timestamps are taken as UTC.
        created_timestamp_column: when a row was written; of rows with equal event time the newest wins.
        field_mapping: source column -> feature, key or timestamp name.
        description, tags, owner: as for any Feast source.
        hive_partitioning: read `key=value` directories as columns. Off by default, so that a column in the
            files is never hidden by a directory of the same name; such a clash is an error when on.
        allow_empty: the path may match no file yet. `feast apply` then needs feature views with a declared
            schema (and entities with a value_type), and retrieval gives NULL of the declared types.

    Raises:
        SourceDefinitionError: the arguments contradict each other.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        path: str | None = None,
        table: str | None = None,
        query: str | None = None,
        database: str | None = None,
        timestamp_field: str | None = "",
        created_timestamp_column: str | None = "",
        field_mapping: dict[str, str] | None = None,
        description: str | None = "",
        tags: dict[str, str] | None = None,
        owner: str | None = "",
        hive_partitioning: bool = False,
        allow_empty: bool = False,
    ) -> None:
        label = name or path or table
        if sum(option is not None for option in (path, table, query)) != 1:
            raise SourceDefinitionError(f"DuckDBSource {label!r} needs exactly one of path, table and query.")
        if not label:
            raise SourceDefinitionError("A DuckDBSource with a query needs a name.")
        if table is not None and database is None:
            raise SourceDefinitionError(f"DuckDBSource {label!r} has a table and so needs a database file.")
        if path is None and (hive_partitioning or allow_empty):
            raise SourceDefinitionError(
                f"DuckDBSource {label!r}: hive_partitioning and allow_empty are for path sources."
            )
        if path is not None and database is not None:
            raise SourceDefinitionError(f"DuckDBSource {label!r} has a path; a database means nothing there.")
        super().__init__(
            name=label,
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
            field_mapping=field_mapping,
            description=description,
            tags=tags,
            owner=owner,
        )
        self.path = path
        self.table = table
        self.query = query
        self.database = database
        self.hive_partitioning = hive_partitioning
        self.allow_empty = allow_empty

    def _options(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "table": self.table,
            "query": self.query,
            "database": self.database,
            "hive_partitioning": self.hive_partitioning,
            "allow_empty": self.allow_empty,
        }

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, DuckDBSource)
            and bool(super().__eq__(other))  # type: ignore[no-untyped-call]
            and self._options() == other._options()
        )

    def __hash__(self) -> int:
        return int(super().__hash__())  # type: ignore[no-untyped-call]

    def source_type(self) -> Any:
        """Feast's name for sources that come from plugins."""
        return DataSourceProto.CUSTOM_SOURCE

    @staticmethod
    def from_proto(data_source: DataSourceProto) -> DuckDBSource:
        """Read the source from a registry."""
        return DuckDBSource(
            name=data_source.name,
            timestamp_field=data_source.timestamp_field,
            created_timestamp_column=data_source.created_timestamp_column,
            field_mapping=dict(data_source.field_mapping),
            description=data_source.description,
            tags=dict(data_source.tags),
            owner=data_source.owner,
            **json.loads(data_source.custom_options.configuration),
        )

    def _to_proto_impl(self) -> DataSourceProto:
        configuration = json.dumps(self._options(), sort_keys=True).encode()
        return DataSourceProto(
            name=self.name,
            type=DataSourceProto.CUSTOM_SOURCE,
            data_source_class_type=_CLASS_PATH,
            field_mapping=self.field_mapping,
            custom_options=DataSourceProto.CustomSourceOptions(configuration=configuration),
            description=self.description,
            tags=self.tags,
            owner=self.owner,
            timestamp_field=self.timestamp_field,
            created_timestamp_column=self.created_timestamp_column,
        )

    def validate(self, config: Any) -> None:
        """Check that the data is there and has the columns that this definition names. Reads schemas only.

        Raises:
            SourceNotFoundError: no file matches and `allow_empty` is False, or there is no such table.
            MissingColumnError: a timestamp column is absent; the message lists those that exist. A mapping whose
                source column is absent is no error: Feast's own sources allow one mapping for many tables.
        """
        with open_session(SessionSettings.of(config)) as session:
            relation = self.open(session)
            if relation.is_empty:
                return
            raw = self.raw_names()
            named = {
                "timestamp_field": self.timestamp_field,
                "created_timestamp_column": self.created_timestamp_column,
            }
            for role, column in named.items():
                if column:
                    relation.require([raw.get(column, column)], role)
            if self.timestamp_field:
                relation.epoch_us(raw.get(self.timestamp_field, self.timestamp_field))

    def open(self, session: Session) -> Relation:
        """Find the data and read its schema; a database is attached to the session.

        Raises:
            SourceNotFoundError: there is nothing at its location.
            SourceDefinitionError: the query can't be run, or a directory names a column that the files have.
            DatabaseLockedError: the database stayed locked.
        """
        if self.path is not None:
            files = location.parquet_files(session.settings.base_path, self.path)
            return relation_of_files(
                session, self.path, files, hive_partitioning=self.hive_partitioning, allow_empty=self.allow_empty
            )
        context = None
        if self.database is not None:
            context = session.attach(location.absolute(session.settings.base_path, self.database))
        if self.table is not None:
            return relation_of_table(session, self.table, self.database or "", context or "")
        return relation_of_query(session, self.query or "", str(self.name), context)

    def raw_names(self) -> dict[str, str]:
        """Give the mapping from feature-side names back to source columns."""
        return {mapped: raw for raw, mapped in self.field_mapping.items()}

    @staticmethod
    def source_datatype_to_feast_value_type() -> Callable[[str], ValueType]:
        """Give the function that translates the types of `get_table_column_names_and_types`."""
        return types.value_type

    def get_table_column_names_and_types(self, config: Any) -> Iterable[tuple[str, str]]:
        """Give column names and Arrow types as text, in order; nothing for a source without files yet."""
        with open_session(SessionSettings.of(config)) as session:
            relation = self.open(session)
            if relation.is_empty:
                return []
            schema = session.schema(f"SELECT * FROM {relation.from_sql}", relation.context)
        return [(field.name, str(types.boundary_type(field.type))) for field in schema]

    def get_table_query_string(self) -> str:
        """Give the source as it would stand after FROM, with its path or table as defined."""
        if self.path is not None:
            return f"read_parquet({text(self.path)})"
        return qualified(self.table) if self.table is not None else f"({self.query})"
