"""Rows that describe things (items, customer attributes): only what is new is stored, and the newest row wins."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import select

from propensity.warehouse.catalogue import Run
from propensity.warehouse.catalogue_session import catalogue_session
from propensity.warehouse.connection import quoted
from propensity.warehouse.import_result import ImportResult
from propensity.warehouse.lake import Lake
from propensity.warehouse.quarantine import count_reasons, record_reasons, write_quarantine
from propensity.warehouse.regions import check_timezone, ensure_region
from propensity.warehouse.runs import RunRecord, fingerprint, list_runs, record_run

if TYPE_CHECKING:
    import duckdb

    from propensity.settings import Settings


@dataclass(frozen=True)
class Reference:
    """A lake table of such rows.

    Attributes:
        table: The lake's table.
        kind: Kind of the runs that bring its rows.
        keys: Columns that name a thing, and their DuckDB types.
        values: Columns that say something of it, and their types.
    """

    table: str
    kind: str
    keys: Mapping[str, str]
    values: Mapping[str, str]

    @property
    def columns(self) -> str:
        """Keys and values as a select list."""
        return ", ".join((*self.keys, *self.values))


def publish_news(
    settings: Settings, connection: duckdb.DuckDBPyConnection, reference: Reference, *, source_name: str
) -> ImportResult:
    """Publish those rows of the connection's view `news` that differ from the newest ones as one run.

    Args:
        connection: Its `news` has the reference's columns, each key once; its table `checked` the rows set aside.

    Raises:
        SettingsError: The region was imported with another time zone.

    Side effects: writes the new rows to the lake, the run and its counts to the catalogue. Rows that say nothing new
    change nothing.
    """
    started = time.monotonic()
    check_timezone(settings)
    while True:
        recorded = list_runs(settings, kind=reference.kind)
        create_current_view(settings, connection, reference, view="current_rows")
        connection.execute(f"""
            CREATE OR REPLACE TEMP TABLE novel AS
            SELECT {reference.columns} FROM news EXCEPT SELECT {reference.columns} FROM current_rows
        """)
        row = ", ".join(f"{name}::VARCHAR" for name in (*reference.keys, *reference.values))
        rows, digest, total = connection.execute(f"""
            SELECT count(*), coalesce(sum(md5_number_lower(to_json([{row}]))::HUGEINT), 0)::VARCHAR,
                   (SELECT count(*) FROM news)
            FROM novel
        """).fetchone() or (0, "0", 0)
        quarantined = count_reasons(connection)
        if not rows and recorded:
            return ImportResult(recorded[-1], quarantined, already_imported=True)
        # A thing may go back to what it was two imports ago: the same rows on top of others are another run.
        run_id = f"{reference.table}-{fingerprint(settings.region, digest, [run.run_id for run in recorded])}"
        _write(settings, connection, reference, run_id)
        run = RunRecord(
            run_id,
            settings.region,
            reference.kind,
            "finished",
            None,
            rows,
            time.monotonic() - started,
            datetime.now(UTC),
            {
                "source": source_name,
                "rows_read": total + sum(quarantined.values()),
                "unchanged": total - rows,
                "quarantined": quarantined,
            },
        )
        if _record(settings, run, recorded):
            return ImportResult(run, quarantined, already_imported=False)


def create_current_view(
    settings: Settings, connection: duckdb.DuckDBPyConnection, reference: Reference, *, view: str
) -> None:
    """Create a view of the newest row of each key over the recorded runs; an empty one where there are none."""
    lake = Lake(settings.lake)
    files = [
        str(file)
        for run in list_runs(settings, kind=reference.kind)
        for file in lake.files(reference.table, settings.region, run_id=run.run_id)
    ]
    typed = ", ".join(f"{name}::{kind} AS {name}" for name, kind in {**reference.keys, **reference.values}.items())
    if not files:
        nulls = ", ".join(f"NULL::{kind} AS {name}" for name, kind in {**reference.keys, **reference.values}.items())
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {view} AS SELECT {nulls} WHERE false")
        return
    connection.execute(f"""
        CREATE OR REPLACE TEMP VIEW {view} AS
        SELECT {typed} FROM read_parquet({files}) QUALIFY row_number() OVER (
            PARTITION BY {", ".join(reference.keys)} ORDER BY imported_timestamp DESC, run_id DESC) = 1
    """)


def _write(settings: Settings, connection: duckdb.DuckDBPyConnection, reference: Reference, run_id: str) -> None:
    lake = Lake(settings.lake)
    write_quarantine(settings, connection, lake, run_id)
    if lake.has_run(reference.table, settings.region, run_id):
        return  # written by an import that was killed before it was recorded
    with lake.new_run(reference.table, settings.region, run_id) as directory:
        connection.execute(f"""
            COPY (SELECT {quoted(settings.region)} AS region, {quoted(run_id)} AS run_id,
                         now()::TIMESTAMPTZ AS imported_timestamp, {reference.columns}
                  FROM novel ORDER BY {", ".join(reference.keys)})
            TO {quoted(str(directory / "part-0.parquet"))} (FORMAT parquet, COMPRESSION zstd)
        """)


def _record(settings: Settings, run: RunRecord, seen: list[RunRecord]) -> bool:
    """Record the run, unless another one of its kind was recorded since; return whether it was."""
    with catalogue_session(settings) as session:
        recorded = session.scalars(select(Run.run_id).where(Run.region == run.region, Run.kind == run.kind))
        if set(recorded) != {known.run_id for known in seen}:
            return False
        ensure_region(session, settings)
        record_run(session, run)
        record_reasons(session, run.run_id, run.detail["quarantined"])
    return True
