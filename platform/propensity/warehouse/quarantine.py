"""Rows set aside: counted by reason, kept in the lake as they stood in the source, and too many of them stop an import.

Works on the connection's table `checked`: source_name, source_line, reason (NULL for good rows), raw (the row as JSON,
or the text of a line that couldn't be read; only where there is a reason), and an importer's own columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from propensity import columns
from propensity.errors import InputError, TooManyBadRowsError
from propensity.warehouse.catalogue import QuarantineCount
from propensity.warehouse.connection import quoted

if TYPE_CHECKING:
    import duckdb
    from sqlalchemy.orm import Session

    from propensity.settings import Settings
    from propensity.warehouse.lake import Lake

BAD_REASONS = frozenset(
    {
        "unreadable_line",
        "missing_customer",
        "missing_item",
        "bad_timestamp",
        "bad_created_timestamp",
        "future_timestamp",
        "bad_number",
        "bad_flag",
        "unknown_item",
        "no_category",
    }
)
"""Rows that are broken; they count towards `max_bad_row_share`."""

OTHER_REASONS = frozenset({"not_a_product", "no_quantity", "no_value", "duplicate_item", "duplicate_customer"})
"""Rows that are fine, but are no action in a category (returns, free items, vouchers), or that a later row replaces."""


def count_reasons(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Return the rows set aside by reason, most frequent first."""
    return dict(
        connection.execute(
            "SELECT reason, count(*) FROM checked WHERE reason IS NOT NULL GROUP BY ALL ORDER BY 2 DESC, 1"
        ).fetchall()
    )


def stop_if_unusable(
    settings: Settings, connection: duckdb.DuckDBPyConnection, source_name: str, *, some_known: bool = False
) -> None:
    """Raise unless the checked rows may be imported. Read-only.

    Args:
        some_known: Whether rows of the source were imported before: then the rest of them may hold nothing of use.

    Raises:
        TooManyBadRowsError: More than `settings.max_bad_row_share` of them are bad.
        InputError: Every one of them is set aside.
    """
    reasons = count_reasons(connection)
    total, good = connection.execute("SELECT count(*), count(*) FILTER (reason IS NULL) FROM checked").fetchone() or (
        0,
        0,
    )
    bad = {reason: count for reason, count in reasons.items() if reason in BAD_REASONS}
    share = sum(bad.values()) / max(total, 1)
    if share > settings.max_bad_row_share:
        raise TooManyBadRowsError(
            f"{source_name}: {share:.1%} of {total:,} rows are bad ({_listed(connection, bad)}), more than the "
            f"{settings.max_bad_row_share:.1%} allowed. Nothing was imported. Mend the source, or raise "
            "PROPENSITY_MAX_BAD_ROW_SHARE."
        )
    if not good and not some_known:
        raise InputError(
            f"{source_name}: none of {total:,} rows can be used ({_listed(connection, reasons)}). "
            "Nothing was imported. See what the reasons mean: docs/data.md"
        )


def write_quarantine(settings: Settings, connection: duckdb.DuckDBPyConnection, lake: Lake, run_id: str) -> None:
    """Publish the rows set aside as the run's part of the lake's `quarantine`, if there are any."""
    if not count_reasons(connection):
        return
    with lake.new_run(columns.QUARANTINE, settings.region, run_id) as directory:
        connection.execute(f"""
            COPY (SELECT {quoted(settings.region)} AS region, {quoted(run_id)} AS run_id,
                         now()::TIMESTAMPTZ AS imported_timestamp, source_name, source_line, reason, raw
                  FROM checked WHERE reason IS NOT NULL ORDER BY source_name, source_line)
            TO {quoted(str(directory / "part-0.parquet"))} (FORMAT parquet, COMPRESSION zstd)
        """)


def record_reasons(session: Session, run_id: str, reasons: dict[str, int]) -> None:
    """Put the counts into the catalogue, within the caller's transaction."""
    for reason, count in reasons.items():
        session.merge(QuarantineCount(run_id=run_id, reason=reason, rows=count))


def _listed(connection: duckdb.DuckDBPyConnection, reasons: dict[str, int]) -> str:
    # The import is about to stop, so these are the only words that say where to look.
    first = {
        reason: (name, line)
        for reason, name, line in connection.execute("""
        SELECT reason, arg_min(source_name, (source_name, source_line)),
               arg_min(source_line, (source_name, source_line))
        FROM checked WHERE reason IS NOT NULL GROUP BY reason
    """).fetchall()
    }
    return ", ".join(
        f"{count:,} {reason}, first {first[reason][0]} line {first[reason][1]}" for reason, count in reasons.items()
    )
