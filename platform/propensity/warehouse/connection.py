"""DuckDB connections for heavy SQL: in memory, over the lake, never holding the catalogue's lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import duckdb

from propensity.errors import WarehouseError

if TYPE_CHECKING:
    from propensity.settings import Settings


@contextmanager
def lake_connection(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an in-memory DuckDB in UTC that resolves relative paths against the home directory.

    Raises:
        WarehouseError: A query of the block needs more than `memory_limit` even while it spills.

    Side effects: spills to `home/tmp` when `memory_limit` is reached.
    """
    spill = settings.home / "tmp"
    spill.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": settings.threads,
            "memory_limit": settings.memory_limit,
            "temp_directory": str(spill),
        },
    )
    try:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET enable_progress_bar = false")
        # Memory is bounded by dropping the order of rows; every query that needs one says ORDER BY.
        connection.execute("SET preserve_insertion_order = false")
        connection.execute(f"SET file_search_path = {quoted(str(settings.home))}")
        yield connection
    except duckdb.OutOfMemoryException as error:
        reason = str(error).strip().splitlines()[0]
        raise WarehouseError(
            f"DuckDB needs more than memory_limit={settings.memory_limit} or the disk of {spill} gives: {reason}. "
            "Raise PROPENSITY_MEMORY_LIMIT, or lower PROPENSITY_THREADS."
        ) from error
    finally:
        connection.close()


def quoted(text: str) -> str:
    """Return `text` as a SQL string literal."""
    return "'" + text.replace("'", "''") + "'"
