"""Customer attributes (demographics and the like), one row per (customer, attribute, created_timestamp)."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING

from propensity import columns
from propensity.errors import InputError
from propensity.progress import Progress, silent
from propensity.warehouse.importing import check_zone_name, load_parsing, utc_instant
from propensity.warehouse.quarantine import stop_if_unusable
from propensity.warehouse.reference_rows import Reference, publish_news
from propensity.warehouse.sources import Field, identifier, mapped_columns, open_source, row_columns

if TYPE_CHECKING:
    import duckdb

    from propensity.settings import Settings
    from propensity.warehouse.import_result import ImportResult

FIELDS = (Field("customer_id", required=True), Field("created_timestamp"))

ATTRIBUTES = Reference(
    table=columns.CUSTOMERS,
    kind="attributes",
    keys={"customer_id": "VARCHAR", "attribute": "VARCHAR", "created_timestamp": "TIMESTAMPTZ"},
    values={"value": "VARCHAR"},
)


def import_customers_from(
    settings: Settings,
    source: str,
    *,
    query: str | None = None,
    table: str | None = None,
    timezone: str = "UTC",
    column_names: Mapping[str, str] | None = None,
    progress: Progress = silent,
) -> ImportResult:
    """Import customers, one row each; every column but customer_id and created_timestamp is an attribute.

    Arguments and errors are those of `import_events_from`, side effects those of `import_attributes`; an empty field
    says nothing of its attribute, so it leaves an earlier value standing.
    """
    names = dict(column_names or {})
    with open_source(settings, source, query=query, table=table, progress=progress) as opened:
        connection = opened.connection
        check_zone_name(connection, timezone)
        load_parsing(connection)
        mapped = mapped_columns(opened, FIELDS, names)
        taken = {names.get(field.name, field.name).lower() for field in FIELDS}
        attributes = [name for name in opened.columns if name.lower() not in taken]
        if not attributes:
            raise InputError(
                f"{opened.name} has no attribute: its only columns are {', '.join(opened.columns)}. "
                "Every further column is one. See: docs/data.md"
            )
        connection.execute(
            f"CREATE TEMP VIEW source AS SELECT {row_columns(opened)}, {mapped}, struct_pack("
            + ", ".join(f"{identifier(name)} := tidy({identifier(name)})" for name in attributes)
            + ") AS fields FROM rows"
        )
        kind = {name: kind for name, kind, *_ in connection.execute("DESCRIBE source").fetchall()}["created_timestamp"]
        checks = resources.files("propensity.warehouse").joinpath("customer_checks.sql").read_text()
        connection.execute(checks.format(created_timestamp=utc_instant("source.created_timestamp", kind, timezone)))
        stop_if_unusable(settings, connection, opened.name)
        listed = ", ".join(identifier(name) for name in attributes)
        connection.execute(f"""
            CREATE TEMP VIEW news AS
            FROM (SELECT customer_id, created_timestamp, unnest(fields) FROM checked WHERE reason IS NULL)
            UNPIVOT (value FOR attribute IN ({listed}))
        """)
        return publish_news(settings, connection, ATTRIBUTES, source_name=opened.name)


def import_attributes(settings: Settings, connection: duckdb.DuckDBPyConnection, *, source_name: str) -> ImportResult:
    """Publish the connection's view `attributes`, which needs no checks, as one run of the lake's `customers`.

    The view has customer_id, attribute, value (text) and created_timestamp; an attribute counts as known from its
    created_timestamp on, or always where that is NULL. Of several values known the one dated last counts, of equal
    dates the later import's.

    Side effects: writes to the lake and the catalogue; the same rows again change nothing.
    """
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE checked (source_name VARCHAR, source_line BIGINT, reason VARCHAR, raw VARCHAR)"
    )
    connection.execute("CREATE OR REPLACE TEMP VIEW news AS FROM attributes WHERE value IS NOT NULL")
    return publish_news(settings, connection, ATTRIBUTES, source_name=source_name)
