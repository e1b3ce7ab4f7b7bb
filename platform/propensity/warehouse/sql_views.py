"""The SQL face: views over lake and catalogue, in `warehouse.duckdb` and on connections of our own.

The views name the lake relative to the home directory, so that moving the home breaks nothing. DuckDB resolves such
paths against the working directory and `file_search_path`: start it in the home directory, or use `propensity sql`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from typing import TYPE_CHECKING

from sqlalchemy import text

from propensity.warehouse.catalogue import Base
from propensity.warehouse.catalogue_session import catalogue_session
from propensity.warehouse.connection import lake_connection, quoted
from propensity.warehouse.runs import fingerprint

if TYPE_CHECKING:
    import duckdb

    from propensity.settings import Settings

VIEWS = {
    "events": "events",
    "quarantine": "quarantine",
    "labels": "category_labels",
    "propensity": "category_propensity",
    "propensity_latest": "category_propensity",
    "propensity_long": "category_propensity",
    "propensity_by_event": "category_propensity",
    "top_categories": "category_propensity",
}
"""Views in the order of their creation, and the lake table each needs: DuckDB can't define one over no files."""


def refresh_views(settings: Settings) -> list[str]:
    """Define in the catalogue every view whose lake table has files; return those that weren't there as they are now.

    Side effects: one short transaction on the catalogue, none where nothing is to do. Safe to repeat.
    """
    definitions = {view: _definition(view) for view in _definable(settings)}
    with catalogue_session(settings) as session:
        # DuckDB keeps a view's SQL in its own spelling; a comment says which text it came from.
        known = {row.view_name: row.comment for row in session.execute(text("SELECT * FROM duckdb_views()"))}
        changed = {view: sql for view, sql in definitions.items() if known.get(view) != fingerprint(sql)}
        if changed:
            # One that stands on a changed one is defined again too.
            changed = definitions
            session.execute(text(f"SET file_search_path = {quoted(str(settings.home))}"))
        for view, sql in changed.items():
            session.execute(text(sql.replace(":", "\\:")))
            session.execute(text(f"COMMENT ON VIEW {view} IS {quoted(fingerprint(sql))}"))
    return list(changed)


@contextmanager
def sql_connection(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an in-memory connection with the catalogue's tables and all views, however long the query runs.

    The catalogue is copied and let go at once, so that a long query doesn't lock it. Read-only as to the home.

    Raises:
        WarehouseSchemaError, WarehouseLockedError: As for `catalogue_session`.
    """
    with lake_connection(settings) as connection:
        with catalogue_session(settings) as session:
            raw = session.connection().connection.driver_connection
            copies = {name: raw.sql(f"FROM {name}").to_arrow_table() for name in Base.metadata.tables}  # type: ignore[union-attr]
        for name, rows in copies.items():
            connection.register("copied", rows)
            connection.execute(f"CREATE TABLE {name} AS FROM copied")
            connection.unregister("copied")
        for view in _definable(settings):
            connection.execute(_definition(view))
        yield connection


def _definable(settings: Settings) -> list[str]:
    def has_files(table: str) -> bool:
        while True:
            try:
                return next((settings.lake / table).glob("region=*/**/*.parquet"), None) is not None
            except FileNotFoundError:
                continue  # a run expired while it was looked at

    tables = {table: has_files(table) for table in set(VIEWS.values())}
    return [view for view, table in VIEWS.items() if tables[table]]


def _definition(view: str) -> str:
    return resources.files("propensity.warehouse").joinpath(f"views/{view}.sql").read_text()
