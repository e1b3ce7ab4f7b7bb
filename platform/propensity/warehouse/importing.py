"""Importing events: normalise, set bad rows aside with a reason, publish all or nothing.

An import's run id is derived from the content of its rows, so that the same rows imported again are the same run and
change nothing, wherever the file lies and whatever it is called.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING

from propensity import columns
from propensity.errors import InputError, MissingSourceError, TooManyBadRowsError
from propensity.warehouse.catalogue import QuarantineCount
from propensity.warehouse.catalogue_session import catalogue_session
from propensity.warehouse.categories import add_categories
from propensity.warehouse.connection import quoted
from propensity.warehouse.lake import Lake
from propensity.warehouse.regions import ensure_region
from propensity.warehouse.runs import RunRecord, fingerprint, record_run

if TYPE_CHECKING:
    import duckdb

    from propensity.settings import Settings

EVENT_COLUMNS = (
    "customer_id", "event_timestamp", "event_type", "item_id", "category", "product_type", "department", "brand",
    "quantity", "value", "discount", "basket_id", "promoted", "campaign_type", "event_id", "created_timestamp",
)
"""The event schema; `docs/data.md` says what each means. customer_id and event_timestamp are required."""

BAD_REASONS = frozenset({
    "missing_customer", "bad_timestamp", "bad_created_timestamp", "bad_number", "unknown_item", "no_category"})
"""Rows that are broken; they count towards `max_bad_row_share`. The other reasons (`not_a_product`, `no_quantity`,
`no_value`: returns, free items, vouchers) are rows that are fine but are no action in a category."""

ALREADY_KNOWN = "already_known"
"""Not quarantine: the row's `event_id` is there already."""

# md5 rather than DuckDB's hash(): that one may change between versions, and a rerun would import everything twice.
_ROW_DIGEST = "md5_number_lower(concat_ws('|', " + ", ".join(
    f"coalesce({name}::VARCHAR, '')" for name in EVENT_COLUMNS) + "))::HUGEINT"


@dataclass(frozen=True)
class ImportResult:
    """What an import did.

    Attributes:
        run: The import's run.
        quarantined: Rows set aside, by reason.
        already_imported: The same rows were there before; nothing has changed.
    """

    run: RunRecord
    quarantined: dict[str, int]
    already_imported: bool


def import_events(
    settings: Settings, connection: duckdb.DuckDBPyConnection, *, source_name: str, naive_timezone: str
) -> ImportResult:
    """Check the connection's view `source` and publish its good rows as one run of the lake's `events`.

    Args:
        connection: Holds two views: `source` with EVENT_COLUMNS (a missing optional one as NULL), `source_name`
            and `source_line`, and `items` (item_id, category, product_type, department, brand, excluded).
        source_name: What the run calls its source.
        naive_timezone: Time zone of timestamps that carry none.

    Raises:
        TooManyBadRowsError: More than `settings.max_bad_row_share` of the rows are bad; nothing has changed.
        MissingSourceError: The source has no rows.

    Rows whose `event_id` an earlier import brought are skipped and counted, so that overlapping extracts add up.

    Side effects: writes the run's events and quarantined rows to the lake; adds categories, counts and the run to the
    catalogue. The same rows again change nothing.
    """
    started = time.monotonic()
    _check_rows(connection, naive_timezone)
    total, digest = connection.execute(f"SELECT count(*), sum({_ROW_DIGEST}) FROM checked").fetchone() or (0, 0)
    if total == 0:
        raise MissingSourceError(f"{source_name} has no rows. Nothing was imported.")
    run_id = f"import-{fingerprint(settings.region, total, str(digest))}"
    lake = Lake(settings.lake)
    already_imported = lake.has_run(columns.EVENTS, settings.region, run_id)
    if not already_imported:
        _mark_known_event_ids(settings, connection, lake)
        _stop_if_too_many(settings, source_name, _reasons(connection), total)
        _publish(settings, connection, lake, run_id)
    quarantined = _reasons(connection)
    quarantined.pop(ALREADY_KNOWN, None)
    files = str(lake.run_directory(columns.EVENTS, settings.region, run_id) / "*.parquet")
    rows, first, last = connection.execute(
        "SELECT count(*), min(event_timestamp), max(event_timestamp) "
        f"FROM read_parquet({quoted(files)})").fetchone() or (0, None, None)
    run = RunRecord(
        run_id, settings.region, "import", "finished", None, rows, time.monotonic() - started, datetime.now(UTC),
        {"source": source_name, "rows_read": total, "quarantined": quarantined}
        | ({"first_event_timestamp": first.isoformat(), "last_event_timestamp": last.isoformat()} if rows else {}))
    _record(settings, connection, run, files)
    return ImportResult(run, quarantined, already_imported)


def _check_rows(connection: duckdb.DuckDBPyConnection, naive_timezone: str) -> None:
    types = {name: kind for name, kind, *_ in connection.execute("DESCRIBE source").fetchall()}
    missing = [name for name in ("customer_id", "event_timestamp") if types.get(name, "\"NULL\"") == "\"NULL\""]
    if missing:
        raise InputError(
            f"The source has no column {', '.join(missing)}. Its columns: {', '.join(types)}. See: docs/data.md")
    template = resources.files("propensity.warehouse").joinpath("event_checks.sql").read_text()
    connection.execute("CREATE OR REPLACE TEMP TABLE checked AS " + template.format(**{
        name: utc_instant(f"source.{name}", types[name], naive_timezone)
        for name in ("event_timestamp", "created_timestamp")}))


def utc_instant(column: str, kind: str, naive_timezone: str) -> str:
    """Return SQL that reads `column`, of DuckDB type `kind`, as TIMESTAMPTZ, or NULL where it can't.

    Values without an offset are local times of `naive_timezone`.
    """
    if kind == "TIMESTAMP WITH TIME ZONE":
        return column
    if kind.startswith(("TIMESTAMP", "DATE")):
        return f"timezone({quoted(naive_timezone)}, {column}::TIMESTAMP)"
    text = f"trim({column}::VARCHAR)"
    return (
        f"CASE WHEN regexp_matches({text}, ':\\d{{2}}(\\.\\d+)?\\s*(Z|[+-]\\d{{2}}(:?\\d{{2}})?)$') "
        f"THEN try_cast({text} AS TIMESTAMPTZ) "
        f"ELSE timezone({quoted(naive_timezone)}, try_cast({text} AS TIMESTAMP)) END")


def _mark_known_event_ids(settings: Settings, connection: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    # An id may also come twice in one source: the first line stands.
    connection.execute(f"""
        UPDATE checked SET reason = '{ALREADY_KNOWN}'
        WHERE reason IS NULL AND event_id IS NOT NULL AND source_line != (
            SELECT min(source_line) FROM checked AS first WHERE first.event_id = checked.event_id AND reason IS NULL)
    """)
    files = [str(file) for file in lake.files(columns.EVENTS, settings.region)]
    if files:
        connection.execute(f"""
            UPDATE checked SET reason = '{ALREADY_KNOWN}' WHERE reason IS NULL AND event_id IN (
                SELECT event_id FROM read_parquet({files}) WHERE event_id IS NOT NULL)
        """)


def _reasons(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    return dict(connection.execute(
        "SELECT reason, count(*) FROM checked WHERE reason IS NOT NULL GROUP BY ALL ORDER BY 2 DESC, 1").fetchall())


def _stop_if_too_many(settings: Settings, source_name: str, reasons: dict[str, int], total: int) -> None:
    bad = {reason: count for reason, count in reasons.items() if reason in BAD_REASONS}
    share = sum(bad.values()) / total
    if share > settings.max_bad_row_share:
        listed = ", ".join(f"{count:,} {reason}" for reason, count in bad.items())
        raise TooManyBadRowsError(
            f"{source_name}: {share:.1%} of {total:,} rows are bad ({listed}), more than the {settings.max_bad_row_share:.1%} "
            "allowed. Nothing was imported. Mend the source, or raise PROPENSITY_MAX_BAD_ROW_SHARE.")


def _publish(settings: Settings, connection: duckdb.DuckDBPyConnection, lake: Lake, run_id: str) -> None:
    written = "now()::TIMESTAMPTZ AS imported_timestamp"
    # Quarantine first: once the events are there the import counts as done.
    with lake.new_run(columns.QUARANTINE, settings.region, run_id) as directory:
        connection.execute(f"""
            COPY (SELECT {quoted(settings.region)} AS region, {quoted(run_id)} AS run_id, {written}, *
                  FROM checked WHERE reason IS NOT NULL AND reason != '{ALREADY_KNOWN}' ORDER BY source_name, source_line)
            TO {quoted(str(directory / "part-0.parquet"))} (FORMAT parquet, COMPRESSION zstd)
        """)
    with lake.new_run(columns.EVENTS, settings.region, run_id) as directory:
        connection.execute(f"""
            COPY (SELECT {quoted(settings.region)} AS region, {quoted(run_id)} AS run_id, {", ".join(EVENT_COLUMNS)}
                  FROM checked WHERE reason IS NULL ORDER BY customer_id, event_timestamp, source_name, source_line)
            TO {quoted(str(directory / "part-0.parquet"))} (FORMAT parquet, COMPRESSION zstd)
        """)


def _record(settings: Settings, connection: duckdb.DuckDBPyConnection, run: RunRecord, files: str) -> None:
    seen = connection.execute(f"""
        SELECT category, min(event_timestamp) FROM read_parquet({quoted(files)})
        WHERE category IS NOT NULL GROUP BY ALL ORDER BY category
    """).fetchall()
    with catalogue_session(settings) as session:
        ensure_region(session, settings)
        add_categories(session, settings.region, seen)
        record_run(session, run)
        for reason, count in run.detail["quarantined"].items():
            session.merge(QuarantineCount(run_id=run.run_id, reason=reason, rows=count))
