"""Customer attributes (demographics and the like), one row per (customer, attribute)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from propensity import columns
from propensity.warehouse.catalogue_session import catalogue_session
from propensity.warehouse.connection import quoted
from propensity.warehouse.lake import Lake
from propensity.warehouse.regions import ensure_region
from propensity.warehouse.runs import RunRecord, fingerprint, record_run

if TYPE_CHECKING:
    import duckdb

    from propensity.settings import Settings


def import_attributes(settings: Settings, connection: duckdb.DuckDBPyConnection, *, source_name: str) -> RunRecord:
    """Publish the connection's view `attributes` as one run of the lake's `customers`.

    The view has customer_id, attribute, value (text) and created_timestamp; an attribute counts as known from its
    created_timestamp on, or always where that is NULL. A later import of the same (customer, attribute) wins.

    Side effects: writes to the lake and the catalogue; the same rows again change nothing.
    """
    started = datetime.now(UTC)
    digest = connection.execute(
        "SELECT count(*), sum(md5_number_lower(concat_ws('|', customer_id, attribute, value, "
        "coalesce(created_timestamp::VARCHAR, '')))::HUGEINT)::VARCHAR FROM attributes WHERE value IS NOT NULL").fetchone()
    run_id = f"customers-{fingerprint(settings.region, digest)}"
    lake = Lake(settings.lake)
    if not lake.has_run(columns.CUSTOMERS, settings.region, run_id):
        with lake.new_run(columns.CUSTOMERS, settings.region, run_id) as directory:
            connection.execute(f"""
                COPY (SELECT {quoted(settings.region)} AS region, {quoted(run_id)} AS run_id,
                             now()::TIMESTAMPTZ AS imported_timestamp,
                             customer_id, attribute, value, created_timestamp
                      FROM attributes WHERE value IS NOT NULL ORDER BY customer_id, attribute)
                TO {quoted(str(directory / "part-0.parquet"))} (FORMAT parquet, COMPRESSION zstd)
            """)
    run = RunRecord(
        run_id, settings.region, "attributes", "finished", None, digest[0] if digest else 0,
        (datetime.now(UTC) - started).total_seconds(), started, {"source": source_name})
    with catalogue_session(settings) as session:
        ensure_region(session, settings)
        record_run(session, run)
    return run
