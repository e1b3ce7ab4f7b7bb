"""Customer attributes for a build: which imports matter for an instant, and their rows as a view."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from propensity import columns
from propensity.warehouse.lake import Lake
from propensity.warehouse.runs import list_runs

if TYPE_CHECKING:
    import duckdb

    from propensity.settings import Settings

_ALWAYS = -9_223_372_036_854_775_807
"""created_us of a value without a date: it counts as known from ever on."""


def attribute_files(settings: Settings, run_ids: Collection[str] | None = None) -> list[str]:
    """Return the Parquet files of the imports of attributes, all of them or those named. Read-only."""
    lake = Lake(settings.lake)
    return [
        str(file)
        for run in list_runs(settings, kind="attributes")
        if run_ids is None or run.run_id in run_ids
        for file in lake.files(columns.CUSTOMERS, settings.region, run_id=run.run_id)
    ]


def attributes_sql(files: list[str]) -> str:
    """Return the SELECT that the relation `attributes` is, over these files."""
    rows = (
        f"read_parquet({files})"
        if files
        else "(SELECT NULL::VARCHAR AS customer_id, NULL::VARCHAR AS attribute, NULL::VARCHAR AS value, "
        "NULL::TIMESTAMPTZ AS imported_timestamp, NULL::TIMESTAMPTZ AS created_timestamp, NULL::VARCHAR AS run_id "
        "WHERE false)"
    )
    return f"""
        SELECT customer_id, attribute, value, imported_timestamp, run_id,
               coalesce(epoch_us(created_timestamp), {_ALWAYS}) AS created_us
        FROM {rows}
    """


def stage_attributes(settings: Settings, connection: duckdb.DuckDBPyConnection) -> Mapping[str, int]:
    """Create the view `attributes`; return each import's id and the first instant, in microseconds, it matters for.

    So an import of attributes dated today leaves snapshots of the past as they are; one without dates doesn't.
    """
    connection.execute(f"CREATE TEMP VIEW attributes AS {attributes_sql(attribute_files(settings))}")
    return dict(connection.execute("SELECT run_id, min(created_us) FROM attributes GROUP BY ALL").fetchall())
