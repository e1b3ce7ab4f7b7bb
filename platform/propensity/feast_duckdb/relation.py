"""A data source as DuckDB sees it: what stands after FROM, its columns, and a number for each row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb

from propensity.feast_duckdb import dialect
from propensity.feast_duckdb.connection import Session
from propensity.feast_duckdb.errors import MissingColumnError, SourceDefinitionError, SourceNotFoundError

# Bare columns: a join on an expression of them could not skip row groups.
_FILE_ROW_ID = ("src.file_index", "src.file_row_number")
_TABLE_ROW_ID = ("src.rowid",)
_ROW_BITS = 40  # of a place number: rows of one file; the 23 above them count files
_FILE_PSEUDO_COLUMNS = {"file_index", "file_row_number"}


@dataclass(frozen=True)
class Relation:
    """A readable source.

    Attributes:
        label: how messages name it.
        from_sql: what stands after FROM; queries alias it as `src`.
        columns: source column -> DuckDB type, in order; empty for a source without files.
        row_id: columns of `src` that together number rows uniquely, in order of place, and alike in every scan
            of one session; none if there are no such numbers, and rows must be staged before they can be
            fetched twice.
        context: alias of the database in which `from_sql` must be bound.
        is_empty: a source that is allowed to have no files, and has none.
        names: source column -> its name within `from_sql`, where staging renamed it.
        file_bytes: size of its local files; None where it isn't known.
    """

    label: str
    from_sql: str
    columns: Mapping[str, str]
    row_id: tuple[str, ...] = ()
    context: str | None = None
    is_empty: bool = False
    names: Mapping[str, str] = field(default_factory=dict)
    file_bytes: int | None = None

    def require(self, columns: Iterable[str], role: str = "") -> None:
        """Check that columns exist.

        Raises:
            MissingColumnError: some don't.
        """
        missing = [column for column in dict.fromkeys(columns) if column not in self.columns]
        if missing:
            raise MissingColumnError(self.label, missing, self.columns, role)

    def column(self, column: str) -> str:
        """Write a reference to a source column."""
        self.require([column])
        return f"src.{dialect.name(self.names.get(column, column))}"

    def epoch_us(self, column: str) -> str:
        """Write a timestamp column as microseconds since 1970 UTC."""
        return dialect.epoch_us(self.column(column), self.columns[column], self.label)

    def between(self, column: str, lower_us: str | None, upper_us: str | None, *, after_us: str | None = None) -> str:
        """Write bounds on a timestamp: in a form that prunes row groups, then exactly.

        Args:
            column: source column.
            lower_us, upper_us: inclusive bounds as SQL in microseconds; None is open.
            after_us: exclusive lower bound.
        """
        raw, us, kind = self.column(column), self.epoch_us(column), self.columns[column]
        conditions: list[str | None] = []
        for operator, value in ((">=", lower_us), (">", after_us), ("<=", upper_us)):
            if value is not None:
                conditions.append(dialect.bound(raw, kind, operator, value))
                if not dialect.is_microseconds(kind):
                    conditions.append(f"{us} {operator} {value}")
        return dialect.conjunction(conditions)

    def place(self) -> str:
        """Write a row's number as one value that orders rows by place."""
        return "{" + ", ".join(f"'{name}': {column}" for name, column in self.place_names().items()) + "}"

    def place_number(self) -> str:
        """Write a row's number as a BIGINT that orders rows by place."""
        if len(self.row_id) == 1:
            return f"{self.row_id[0]}::BIGINT"
        file, row = self.row_id
        return f"({file}::BIGINT << {_ROW_BITS}) + {row}"

    def places_of(self, number: str) -> dict[str, str]:
        """Write the fields of `place`, taken from a `place_number`."""
        if len(self.row_id) == 1:
            return {"r0": number}
        return {"r0": f"({number} >> {_ROW_BITS})::UBIGINT", "r1": f"{number} & {(1 << _ROW_BITS) - 1}"}

    def place_names(self) -> dict[str, str]:
        """Give the fields of `place`, with the columns that they come from."""
        return {f"r{index}": column for index, column in enumerate(self.row_id)}

    def staged(self, table: str, columns: Iterable[str], condition: str) -> tuple[Relation, list[str]]:
        """Copy columns of the rows that meet a condition to a temporary table, whose rows have numbers.

        Returns:
            the staged relation, and the statements that make it.
        """
        kept = list(dict.fromkeys(columns))
        names = {column: f"c{index}" for index, column in enumerate(kept)}
        selected = ", ".join(f"{self.column(column)} AS {names[column]}" for column in kept)
        create = f"CREATE TEMP TABLE {table} AS SELECT {selected} FROM {self.from_sql} AS src WHERE {condition}"
        within = [f"USE {dialect.name(self.context)}", create, "USE memory"] if self.context else [create]
        kinds = {column: self.columns[column] for column in kept}
        staged = replace(self, from_sql=table, columns=kinds, row_id=_TABLE_ROW_ID, context=None, names=names)
        return staged, within


def relation_of_files(
    session: Session, path: str, files: list[str], *, hive_partitioning: bool = False, allow_empty: bool = False
) -> Relation:
    """Read the schema of Parquet files.

    Args:
        session: where they will be read.
        path: how the source's definition names them.
        files: their absolute paths or URLs.
        hive_partitioning: read `key=value` directories as columns.
        allow_empty: no files are no error.

    Raises:
        SourceNotFoundError: there are no files.
        SourceDefinitionError: a directory names a column that the files have.
    """
    label = f"Parquet source {path!r}"
    if not files and allow_empty:
        return Relation(label, "", {}, is_empty=True, file_bytes=0)
    if not files:
        raise SourceNotFoundError(
            f"{label} matches no file under {session.settings.base_path}. "
            "Correct the path, or set allow_empty=True on a DuckDBSource whose data is yet to come."
        )
    # The list is fixed here: row numbers must mean the same in every scan, while other runs add files.
    from_sql = _scan(files, hive="false")
    columns = session.describe(f"SELECT * FROM {from_sql}")
    if hive_partitioning:
        # The lake's own directories, such as as_of=…, may bear the name of a column in the files.
        keys = {part.split("=", 1)[0] for part in files[0].split("/")[:-1] if "=" in part}
        clashes = sorted(keys & set(columns))
        if clashes:
            raise SourceDefinitionError(
                f"{label}: {', '.join(clashes)} is both a column of the files and a partition directory. "
                "Set hive_partitioning=False to read the column, or rename one of them."
            )
        from_sql = _scan(files, hive="true")
        columns = session.describe(f"SELECT * FROM {from_sql}")
    hidden = _FILE_PSEUDO_COLUMNS & {column.lower() for column in columns}
    return Relation(label, from_sql, columns, row_id=() if hidden else _FILE_ROW_ID, file_bytes=_size(files))


def _size(files: list[str]) -> int | None:
    try:
        return sum(Path(file).stat().st_size for file in files)
    except OSError:
        return None


def _scan(files: list[str], *, hive: str) -> str:
    return f"read_parquet({dialect.text_list(files)}, union_by_name = true, hive_partitioning = {hive})"


def relation_of_table(session: Session, table: str, database: str, alias: str) -> Relation:
    """Read the schema of a table or view.

    Args:
        session: where its database is attached.
        table: its name, optionally with its schema.
        database: how the source's definition names the database.
        alias: the database's name in the session.

    Raises:
        SourceNotFoundError: there is no such table.
    """
    label = f"Table {table!r} of {database!r}"
    from_sql = f"{dialect.name(alias)}.{dialect.qualified(table)}"
    try:
        columns = session.describe(f"SELECT * FROM {from_sql}")
    except duckdb.CatalogException as error:
        raise SourceNotFoundError(f"{label} doesn't exist: {error}") from error
    row_id: tuple[str, ...] = _TABLE_ROW_ID
    try:
        session.describe(f"SELECT src.rowid FROM {from_sql} AS src")
    except duckdb.BinderException:
        row_id = ()  # a view has no row numbers
    if "rowid" in {column.lower() for column in columns}:
        row_id = ()  # a column of that name hides them
    return Relation(label, from_sql, columns, row_id=row_id)


def relation_of_query(session: Session, query: str, name: str, context: str | None) -> Relation:
    """Read the schema of a SELECT's result, without running it.

    Args:
        session: where it will run.
        query: the SELECT; `{base_path}` stands for the base directory.
        name: how messages call it.
        context: alias of the database in which its tables are looked up.

    Raises:
        SourceDefinitionError: it can't be run.
    """
    query = query.strip().rstrip(";").replace("{base_path}", str(session.settings.base_path))
    label = f"Query {name!r}"
    try:
        columns = session.describe(query, context)
    except duckdb.Error as error:
        raise SourceDefinitionError(f"{label} can't be run: {error}") from error
    return Relation(label, f"({query})", columns, context=context)
