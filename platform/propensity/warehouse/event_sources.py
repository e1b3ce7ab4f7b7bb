"""Importing a user's own events: files or a database, in the schema that `docs/data.md` describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from propensity.progress import Progress, silent
from propensity.warehouse.importing import EVENT_COLUMNS, check_zone_name, import_events
from propensity.warehouse.items import create_items_view
from propensity.warehouse.sources import Field, mapped_columns, open_source, row_columns

if TYPE_CHECKING:
    from propensity.settings import Settings
    from propensity.warehouse.import_result import ImportResult

FIELDS = tuple(Field(name, required=name in ("customer_id", "event_timestamp")) for name in EVENT_COLUMNS)


def import_events_from(
    settings: Settings,
    source: str,
    *,
    query: str | None = None,
    table: str | None = None,
    timezone: str = "UTC",
    column_names: Mapping[str, str] | None = None,
    progress: Progress = silent,
) -> ImportResult:
    """Import events from Parquet or CSV files or a database; items are those imported before.

    Args:
        source: A file, a directory, a glob pattern, or an SQLAlchemy URL.
        query: SELECT to read, for a URL.
        table: Table or view to read instead, for a URL.
        timezone: Time zone of timestamps that carry none.
        column_names: Our column name -> the source's, where they differ.

    Raises:
        MissingSourceError: The source isn't there or has no rows.
        InputError: It can't be read, lacks a required column, or none of its rows can be used.
        TooManyBadRowsError: See `import_events`, as for the side effects; safe to repeat.
    """
    with open_source(settings, source, query=query, table=table, progress=progress) as opened:
        connection = opened.connection
        check_zone_name(connection, timezone)
        create_items_view(settings, connection)
        connection.execute(
            f"CREATE TEMP VIEW source AS SELECT {row_columns(opened)}, "
            f"{mapped_columns(opened, FIELDS, column_names or {})} FROM rows"
        )
        return import_events(settings, connection, source_name=opened.name, naive_timezone=timezone, progress=progress)
