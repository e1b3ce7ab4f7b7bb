"""Importing events: normalise, set bad rows aside with a reason, publish all or nothing.

What was imported is known by the content of its rows, file by file, wherever a file lies and whatever it is called:
rows that are there are skipped, and the same rows read differently (another time zone, mended items) replace the
import that had them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from propensity import columns
from propensity.errors import InputError, MissingSourceError, SettingsError
from propensity.progress import Progress, silent
from propensity.warehouse.catalogue_session import catalogue_session
from propensity.warehouse.categories import add_categories
from propensity.warehouse.connection import quoted
from propensity.warehouse.import_plan import (
    ImportPlan,
    SourceDigest,
    active_imports,
    plan_import,
    replace_imports,
    source_digests,
)
from propensity.warehouse.import_result import ImportResult
from propensity.warehouse.lake import Lake
from propensity.warehouse.quarantine import count_reasons, record_reasons, stop_if_unusable, write_quarantine
from propensity.warehouse.regions import check_timezone, ensure_region
from propensity.warehouse.runs import RunRecord, fingerprint, record_run

if TYPE_CHECKING:
    import duckdb

    from propensity.settings import Settings

EVENT_COLUMNS = (
    "customer_id",
    "event_timestamp",
    "event_type",
    "item_id",
    "category",
    "product_type",
    "department",
    "brand",
    "quantity",
    "value",
    "discount",
    "basket_id",
    "promoted",
    "campaign_type",
    "event_id",
    "created_timestamp",
)
"""The event schema; `docs/data.md` says what each means. customer_id and event_timestamp are required."""


def import_events(
    settings: Settings,
    connection: duckdb.DuckDBPyConnection,
    *,
    source_name: str,
    naive_timezone: str,
    progress: Progress = silent,
) -> ImportResult:
    """Check the connection's view `source` and publish its good rows as one run of the lake's `events`.

    Args:
        connection: Holds two views: `items` (item_id, category, product_type, department, brand, excluded; texts
            trimmed, NULL rather than empty), and `source` with EVENT_COLUMNS (a missing optional one as NULL),
            `source_name`, `source_line`, `raw` (the whole row as JSON, or a line's text) and `unreadable` (whether it
            is such a line).
        source_name: What the run calls its source.
        naive_timezone: Time zone of timestamps that carry none.

    Raises:
        TooManyBadRowsError: More than `settings.max_bad_row_share` of the new rows are bad; nothing has changed.
        MissingSourceError: The source has no rows.
        InputError: It lacks a required column, or none of its rows can be used.
        SettingsError: The time zone is unknown, or the region was imported with another one.

    Rows whose `event_id` an earlier import brought are skipped and counted, so that overlapping extracts add up.

    Side effects: writes the run's events and quarantined rows to the lake; adds categories, counts and the run to the
    catalogue, in one transaction, which is what makes the events count. The same rows again change nothing.
    """
    started = time.monotonic()
    check_timezone(settings)
    check_zone_name(connection, naive_timezone)
    while True:
        progress("Checking events", 0, 3)
        _check_rows(connection, naive_timezone)
        digests = source_digests(connection, EVENT_COLUMNS)
        if not digests:
            raise MissingSourceError(f"{source_name} has no rows. Nothing was imported.")
        plan = plan_import(settings, digests, source_name)
        if plan.already_in is not None:
            progress("Checking events", 3, 3)
            return ImportResult(plan.already_in, plan.already_in.detail["quarantined"], already_imported=True)
        _drop_known_sources(connection, plan, digests)
        stop_if_unusable(settings, connection, source_name, some_known=len(plan.fresh) < len(digests))
        progress("Checking events", 1, 3)
        run, files = _publish(settings, connection, plan, source_name, started)
        progress("Checking events", 2, 3)
        # Another import that was recorded meanwhile may hold the same rows: then look again.
        if _record(settings, connection, run, plan, files):
            progress("Checking events", 3, 3)
            return ImportResult(run, run.detail["quarantined"], already_imported=False)


def check_zone_name(connection: duckdb.DuckDBPyConnection, zone: str) -> None:
    """Raise unless Python and DuckDB both know the time zone.

    Raises:
        SettingsError: One of them doesn't.
    """
    try:
        ZoneInfo(zone)
        known = connection.execute("SELECT count(*) FROM pg_timezone_names() WHERE name = ?", [zone]).fetchone()
    except (ZoneInfoNotFoundError, ValueError):
        known = None
    if not known or not known[0]:
        raise SettingsError(f"{zone!r} is not an IANA time zone. Give one such as --timezone Europe/Berlin.")


def load_parsing(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the macros of import_parsing.sql on the connection."""
    connection.execute(resources.files("propensity.warehouse").joinpath("import_parsing.sql").read_text())


def utc_instant(column: str, kind: str, naive_timezone: str) -> str:
    """Return SQL that reads `column`, of DuckDB type `kind`, as TIMESTAMPTZ, or NULL where it can't.

    Values without an offset are local times of `naive_timezone`. A local time that a clock change skips is read as if
    the clocks hadn't changed yet; one that it repeats is the later of the two.
    """
    if kind == "TIMESTAMP WITH TIME ZONE":
        return column
    if kind.startswith(("TIMESTAMP", "DATE")):
        return f"TRY(timezone({quoted(naive_timezone)}, {column}::TIMESTAMP))"
    return f"instant_of_text(tidy({column}), {quoted(naive_timezone)})"


def _check_rows(connection: duckdb.DuckDBPyConnection, naive_timezone: str) -> None:
    types = {name: kind for name, kind, *_ in connection.execute("DESCRIBE source").fetchall()}
    missing = [name for name in ("customer_id", "event_timestamp") if types.get(name, '"NULL"') == '"NULL"']
    if missing:
        raise InputError(
            f"The source has no column {', '.join(missing)}. Its columns: {', '.join(types)}. See: docs/data.md"
        )
    load_parsing(connection)
    template = resources.files("propensity.warehouse").joinpath("event_checks.sql").read_text()
    connection.execute(
        template.format(
            **{
                name: utc_instant(f"source.{name}", types[name], naive_timezone)
                for name in ("event_timestamp", "created_timestamp")
            }
        )
    )


def _drop_known_sources(
    connection: duckdb.DuckDBPyConnection, plan: ImportPlan, digests: Sequence[SourceDigest]
) -> None:
    if len(plan.fresh) == len(digests):
        return
    fresh = ", ".join(quoted(digest.name) for digest in plan.fresh)
    connection.execute(f"DELETE FROM checked WHERE source_name NOT IN ({fresh})")


def _find_known_events(
    settings: Settings, connection: duckdb.DuckDBPyConnection, lake: Lake, plan: ImportPlan
) -> tuple[int, str]:
    """Fill the table `known_events` with the rows whose event_id is there already; return their number and digest."""
    files = [str(file) for run in plan.kept for file in lake.files(columns.EVENTS, settings.region, run_id=run.run_id)]
    imported = (
        f"OR event_id IN (SELECT event_id FROM read_parquet({files}) WHERE event_id IS NOT NULL)" if files else ""
    )
    # An id may also come twice in one source: the first line stands.
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE known_events AS
        SELECT source_name, source_line FROM (
            SELECT source_name, source_line, event_id,
                   row_number() OVER (PARTITION BY event_id ORDER BY source_name, source_line) AS occurrence
            FROM checked WHERE reason IS NULL AND event_id IS NOT NULL)
        WHERE occurrence > 1 {imported}
    """)
    count, digest = connection.execute("""
        SELECT count(*),
               coalesce(sum(md5_number_lower(to_json([source_name, source_line::VARCHAR]))::HUGEINT), 0)::VARCHAR
        FROM known_events
    """).fetchone() or (0, "0")
    return count, digest


def _publish(
    settings: Settings, connection: duckdb.DuckDBPyConnection, plan: ImportPlan, source_name: str, started: float
) -> tuple[RunRecord, str]:
    """Write the run's files to the lake; return the run, yet to be recorded, and the pattern of its event files."""
    lake = Lake(settings.lake)
    known = _find_known_events(settings, connection, lake, plan)
    run_id = f"import-{fingerprint(settings.region, [digest.key for digest in plan.fresh], known)}"
    write_quarantine(settings, connection, lake, run_id)
    # It is there already where an import was killed before it was recorded.
    if not lake.has_run(columns.EVENTS, settings.region, run_id):
        with lake.new_run(columns.EVENTS, settings.region, run_id) as directory:
            connection.execute(f"""
                COPY (SELECT {quoted(settings.region)} AS region, {quoted(run_id)} AS run_id, {", ".join(EVENT_COLUMNS)}
                      FROM checked ANTI JOIN known_events USING (source_name, source_line) WHERE reason IS NULL
                      ORDER BY customer_id, event_timestamp, source_name, source_line)
                TO {quoted(str(directory / "part-0.parquet"))} (FORMAT parquet, COMPRESSION zstd)
            """)
    files = str(lake.run_directory(columns.EVENTS, settings.region, run_id) / "*.parquet")
    rows, first, last = connection.execute(
        f"SELECT count(*), min(event_timestamp), max(event_timestamp) FROM read_parquet({quoted(files)})"
    ).fetchone() or (0, None, None)
    detail = {
        "source": source_name,
        "rows_read": sum(digest.rows for digest in plan.fresh),
        "quarantined": count_reasons(connection),
        "already_known": known[0],
        "sources": [digest.as_detail() for digest in plan.fresh],
    }
    if rows:
        detail |= {"first_event_timestamp": first.isoformat(), "last_event_timestamp": last.isoformat()}
    return RunRecord(
        run_id, settings.region, "import", "finished", None, rows, time.monotonic() - started, datetime.now(UTC), detail
    ), files


def _record(
    settings: Settings, connection: duckdb.DuckDBPyConnection, run: RunRecord, plan: ImportPlan, files: str
) -> bool:
    """Record the run, unless another import was recorded since the plan was made; return whether it was."""
    seen = connection.execute(f"""
        SELECT category, min(event_timestamp) FROM read_parquet({quoted(files)})
        WHERE category IS NOT NULL GROUP BY ALL ORDER BY category
    """).fetchall()
    with catalogue_session(settings) as session:
        if {row.run_id for row in active_imports(session, settings)} != {row.run_id for row in plan.recorded}:
            return False
        ensure_region(session, settings)
        add_categories(session, settings.region, seen)
        replace_imports(session, plan, run.run_id)
        record_run(session, run)
        record_reasons(session, run.run_id, run.detail["quarantined"])
    return True
