"""What a user's own data is read from: Parquet or CSV files, or any database, as one relation with line numbers."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from propensity.errors import InputError, MissingSourceError, did_you_mean
from propensity.warehouse.connection import lake_connection, quoted
from propensity.warehouse.csv_lines import SUFFIXES, csv_batches
from propensity.warehouse.lake import Lake
from propensity.warehouse.sql_queries import is_sql, sql_batches
from propensity.warehouse.staged_rows import SOURCE_LINE, SOURCE_NAME, UNREADABLE, stage

if TYPE_CHECKING:
    from propensity.progress import Progress
    from propensity.settings import Settings


@dataclass(frozen=True)
class Source:
    """A source that can be read: `connection` has the view `rows` with its columns and those of `staged_rows`.

    Attributes:
        name: What messages and runs call it; never holds a password.
        columns: The source's own columns, in its order.
    """

    connection: duckdb.DuckDBPyConnection
    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Field:
    """A column an importer knows: whether the source must have it."""

    name: str
    required: bool = False


@contextmanager
def open_source(
    settings: Settings, source: str, *, query: str | None, table: str | None, progress: Progress
) -> Iterator[Source]:
    """Open a Parquet or CSV file, a directory of them, a glob pattern, or a database URL.

    Raises:
        MissingSourceError: It isn't there or has no rows.
        InputError: It can't be read.

    Side effects: stages CSV and SQL rows as Parquet in the lake's staging area until the block ends; removes what
    killed imports left there.
    """
    lake = Lake(settings.lake)
    lake.drop_abandoned()
    with lake.staged() as staged, lake_connection(settings) as connection:
        if is_sql(source):
            name = f"{source.split('://', 1)[0]}:{table or 'query'}"
            file = staged / "0.parquet"
            found = stage(sql_batches(source, query=query, table_name=table, progress=progress), file)
            files = {name: file} if found else {}
        else:
            if query is not None or table is not None:
                raise InputError(f"{source} is a path; --query and --table go with a database URL.")
            name = source
            files = _as_parquet(_source_files(source), staged, progress)
        if not files:
            raise MissingSourceError(f"{name} has no rows. Nothing was imported. Check that the export was complete.")
        yield Source(connection, name, _create_rows(connection, name, files))


def mapped_columns(source: Source, fields: Sequence[Field], names: Mapping[str, str]) -> str:
    """Return the select list that gives the source's columns our names; an absent optional one is NULL.

    Args:
        names: Our name -> the source's, where they differ; case is ignored.

    Raises:
        InputError: A name isn't one of ours, a column isn't in the source, or a required one is missing.
    """
    ours = [field.name for field in fields]
    for unknown in names.keys() - set(ours):
        raise InputError(
            f"--column {unknown}=…: {unknown!r} is no column of ours.{did_you_mean(unknown, ours)} "
            f"Ours: {', '.join(ours)}. See: docs/data.md"
        )
    known = {column.lower(): column for column in source.columns}
    selected = []
    for field in fields:
        wanted = names.get(field.name, field.name)
        theirs = known.get(wanted.lower())
        if theirs is None and field.name in names:
            raise InputError(
                f"{source.name} has no column {wanted!r}.{did_you_mean(wanted, source.columns)} "
                f"Its columns: {', '.join(source.columns)}."
            )
        if theirs is None and field.required:
            raise InputError(
                f"{source.name} has no column {field.name!r}. Its columns: {', '.join(source.columns)}. "
                f"Say which one it is: --column {field.name}=THEIRS"
            )
        selected.append(f"{'NULL' if theirs is None else identifier(theirs)} AS {field.name}")
    return ", ".join(selected)


def row_columns(source: Source) -> str:
    """Return the select list of what every importer's view `source` has beside mapped columns."""
    row = ", ".join(f"{quoted(name)}: {identifier(name)}" for name in source.columns)
    return (
        f"{SOURCE_NAME} AS source_name, {SOURCE_LINE} AS source_line, {UNREADABLE} IS NOT NULL AS unreadable, "
        f"coalesce({UNREADABLE}, to_json({{{row}}})::VARCHAR) AS raw"
    )


def identifier(name: str) -> str:
    """Return `name` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _source_files(source: str) -> dict[str, Path]:
    """Return the files by the name their rows carry: their path below the directory or the pattern's fixed part."""
    path = Path(source).expanduser()
    known = (".parquet", *SUFFIXES)
    if path.is_dir():
        root = path
        paths = [
            file
            for file in sorted(path.rglob("*"))
            if file.is_file()
            and file.name.lower().endswith(known)
            and not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)
        ]
    elif path.is_file():
        root, paths = path.parent, [path]
    else:
        root = next(parent for parent in path.parents if not glob.has_magic(str(parent)))
        paths = sorted(file for file in root.glob(str(path.relative_to(root))) if file.is_file())
    if not paths:
        raise MissingSourceError(
            f"There is no file {source!r}, and none below it that ends in {', '.join(known)}. "
            "Check the path, or give a database URL such as sqlite:///shop.db."
        )
    for file in paths:
        if not file.name.lower().endswith(known):
            raise InputError(f"{file} is of no known kind. Known: {', '.join(known)}.")
    return {str(file.relative_to(root)): file for file in paths}


def _as_parquet(files: Mapping[str, Path], staged: Path, progress: Progress) -> dict[str, Path]:
    parquet = {}
    for position, (name, file) in enumerate(files.items()):
        if file.suffix.lower() == ".parquet":
            parquet[name] = file.absolute()
        elif stage(csv_batches(file, progress), staged / f"{position}.parquet"):
            parquet[name] = staged / f"{position}.parquet"
    return parquet


def _create_rows(connection: duckdb.DuckDBPyConnection, name: str, files: Mapping[str, Path]) -> tuple[str, ...]:
    paths = ", ".join(quoted(str(file)) for file in files.values())
    reader = f"read_parquet([{paths}], union_by_name = true, filename = '__file', file_row_number = true)"
    try:
        found = [column for column, *_ in connection.execute(f"DESCRIBE FROM {reader}").fetchall()]
        own = tuple(column for column in found if column not in ("__file", "file_row_number", SOURCE_LINE, UNREADABLE))
        line = f"coalesce({SOURCE_LINE}, file_row_number + 1)" if SOURCE_LINE in found else "file_row_number + 1"
        unreadable = UNREADABLE if UNREADABLE in found else "NULL::VARCHAR"
        connection.execute("CREATE TEMP TABLE source_files (file VARCHAR, name VARCHAR)")
        connection.executemany(
            "INSERT INTO source_files VALUES (?, ?)", [(str(file), name) for name, file in files.items()]
        )
        connection.execute(f"""
            CREATE TEMP VIEW rows AS
            SELECT source_files.name AS {SOURCE_NAME}, {line} AS {SOURCE_LINE}, {unreadable} AS {UNREADABLE},
                   {", ".join(identifier(column) for column in own)}
            FROM {reader} AS read JOIN source_files ON source_files.file = read.__file
        """)
    except duckdb.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"Can't read {name} as Parquet: {reason} Mend the files, or name fewer of them.") from error
    return own
