"""Tables and queries of any database SQLAlchemy speaks to, as Arrow batches of text.

Text, because a database's rows needn't agree on a column's type (SQLite's don't), and because the importers' checks
read text anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, inspect, make_url, select, table, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from propensity.errors import InputError, MissingSourceError, did_you_mean
from propensity.warehouse.staged_rows import BATCH_ROWS, check_names, text_batch

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy.engine import URL, Connection, CursorResult

    from propensity.progress import Progress


def is_sql(source: str) -> bool:
    """Return whether `source` is a database URL rather than a path."""
    return "://" in source


def sql_batches(url: str, *, query: str | None, table_name: str | None, progress: Progress) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a query or a table, fetched in pieces; see `staged_rows` for the batches' columns.

    Raises:
        MissingSourceError: The database, its driver or the table isn't there, or it can't be reached.
        InputError: Neither or both of `query` and `table_name` are given, or the query fails.
    """
    address = _address(url)
    name = address.render_as_string(hide_password=True)
    with _connected(address, name) as connection:
        if (query is None) == (table_name is None):
            raise InputError(
                f"{name}: name either a table or a query. Tables: {_listed(_tables(connection, None))}. "
                "Give --table NAME or --query SQL."
            )
        result = _rows_of(connection, query, table_name, name)
        names = check_names(result.keys(), name)
        done = 0
        for rows in result.partitions(BATCH_ROWS):
            columns = [_as_text(column) for column in zip(*rows, strict=True)]
            yield text_batch(names, range(done + 1, done + len(rows) + 1), columns)
            done += len(rows)
            progress("Reading rows", done, done)


def _address(url: str) -> URL:
    try:
        address = make_url(url)
        backend = address.get_backend_name()
        address.get_dialect()
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        kind = url.split("://", 1)[0]
        raise MissingSourceError(
            f"{kind}://… is no database URL that SQLAlchemy knows. Examples: sqlite:///shop.db, "
            "postgresql+psycopg://user@host/shop; a database may need its SQLAlchemy dialect installed."
        ) from error
    file = address.database
    # These create the file they are asked for; an import must not.
    if backend in ("sqlite", "duckdb") and file and not file.startswith((":", "file:")) and not Path(file).is_file():
        raise MissingSourceError(
            f"There is no database file {file}. Check the path (sqlite:////data/shop.db is absolute)."
        )
    return address


@contextmanager
def _connected(address: URL, name: str) -> Iterator[Connection]:
    # Drivers raise errors of their own where SQLAlchemy doesn't wrap them (DuckDB while fetching): hence the broad
    # handler, which only words the message.
    try:
        engine = create_engine(address, poolclass=NullPool)
    except ImportError as error:
        raise MissingSourceError(
            f"{name}: its driver {error.name!r} isn't installed. Install it: pip install {error.name}"
        ) from error
    try:
        with engine.connect() as connection:
            yield connection.execution_options(stream_results=True)
    except (InputError, GeneratorExit):
        raise
    except Exception as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise MissingSourceError(f"Can't read {name}: {reason} Check the address, the rights and the SQL.") from error
    finally:
        engine.dispose()


def _rows_of(connection: Connection, query: str | None, table_name: str | None, name: str) -> CursorResult[Any]:
    if query is not None:
        # Not text(): it would take ':word' in the user's SQL for a parameter; without no_parameters drivers take '%'.
        try:
            result = connection.exec_driver_sql(query, execution_options={"no_parameters": True})
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise InputError(f"{name}: the query fails: {reason}. Check --query.") from error
        if not result.returns_rows:
            raise InputError(f"{name}: the query returns no rows of any kind. Give a SELECT to --query.")
        return result
    schema, _, bare = (table_name or "").rpartition(".")
    known = _tables(connection, schema or None)
    if bare not in known:
        raise MissingSourceError(
            f"{name} has no table {table_name!r}.{did_you_mean(bare, known)} Tables: {_listed(known)}."
        )
    return connection.execute(select(text("*")).select_from(table(bare, schema=schema or None)))


def _tables(connection: Connection, schema: str | None) -> list[str]:
    inspector = inspect(connection)
    return sorted({*inspector.get_table_names(schema=schema), *inspector.get_view_names(schema=schema)})


def _listed(names: list[str]) -> str:
    return ", ".join(names[:20]) + (", …" if len(names) > 20 else "") or "none"


def _as_text(column: Sequence[Any]) -> list[str | None]:
    return [field if field is None or type(field) is str else _text(field) for field in column]


def _text(field: object) -> str:
    match field:
        case bool():
            return "true" if field else "false"
        case date():
            return field.isoformat()
        case bytes() | bytearray() | memoryview():
            return bytes(field).decode("utf-8", "backslashreplace")
    return str(field)
