"""Items (products) and the category each belongs to: imported, and as a view for the events that name them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING

from propensity import columns
from propensity.progress import Progress, silent
from propensity.warehouse.importing import load_parsing
from propensity.warehouse.quarantine import stop_if_unusable
from propensity.warehouse.reference_rows import Reference, create_current_view, publish_news
from propensity.warehouse.sources import Field, mapped_columns, open_source, row_columns

if TYPE_CHECKING:
    import duckdb

    from propensity.settings import Settings
    from propensity.warehouse.import_result import ImportResult

FIELDS = (
    Field("item_id", required=True),
    Field("category", required=True),
    Field("product_type"),
    Field("department"),
    Field("brand"),
    Field("excluded"),
)

ITEMS = Reference(
    table=columns.ITEMS,
    kind="items",
    keys={"item_id": "VARCHAR"},
    values={
        "category": "VARCHAR",
        "product_type": "VARCHAR",
        "department": "VARCHAR",
        "brand": "VARCHAR",
        "excluded": "BOOLEAN",
    },
)


def import_items_from(
    settings: Settings,
    source: str,
    *,
    query: str | None = None,
    table: str | None = None,
    column_names: Mapping[str, str] | None = None,
    progress: Progress = silent,
) -> ImportResult:
    """Import items from Parquet or CSV files or a database; a later import's row of an item wins.

    Arguments and errors are those of `import_events_from`. Events that were imported already keep the category they
    got; import them again to give them the new one.

    Side effects: writes rows that say something new to the lake's `items` and the run to the catalogue; repeatable.
    """
    with open_source(settings, source, query=query, table=table, progress=progress) as opened:
        connection = opened.connection
        load_parsing(connection)
        connection.execute(
            f"CREATE TEMP VIEW source AS SELECT {row_columns(opened)}, "
            f"{mapped_columns(opened, FIELDS, column_names or {})} FROM rows"
        )
        connection.execute(resources.files("propensity.warehouse").joinpath("item_checks.sql").read_text())
        stop_if_unusable(settings, connection, opened.name)
        connection.execute("CREATE TEMP VIEW news AS FROM checked WHERE reason IS NULL")
        return publish_news(settings, connection, ITEMS, source_name=opened.name)


def create_items_view(settings: Settings, connection: duckdb.DuckDBPyConnection) -> None:
    """Create the view `items` on the connection: the newest row of every item; empty where none was imported."""
    create_current_view(settings, connection, ITEMS, view="items")
