"""What the tests read back from the lake."""

from __future__ import annotations

from typing import Any

import duckdb

from propensity import columns
from propensity.settings import Settings
from propensity.warehouse.lake import Lake
from propensity.warehouse.runs import list_runs


def events(settings: Settings, selected: str = "*") -> list[tuple[Any, ...]]:
    """Return the events of the imports that count, sorted."""
    runs = [run for run in list_runs(settings, kind="import") if "first_event_timestamp" in run.detail]
    return _rows(settings, columns.EVENTS, [run.run_id for run in runs], selected)


def quarantine(settings: Settings, run_id: str) -> list[tuple[Any, ...]]:
    """Return (source_name, source_line, reason, raw) of a run's rows set aside, sorted."""
    return _rows(settings, columns.QUARANTINE, [run_id], "source_name, source_line, reason, raw")


def files(settings: Settings) -> list[str]:
    """Return every file and directory of the lake, and when it was written."""
    return [
        f"{path}@{path.stat().st_mtime_ns}" for path in sorted(settings.lake.rglob("*")) if ".staging" not in str(path)
    ]


def _rows(settings: Settings, table: str, run_ids: list[str], selected: str) -> list[tuple[Any, ...]]:
    found = [
        str(file) for run_id in run_ids for file in Lake(settings.lake).files(table, settings.region, run_id=run_id)
    ]
    if not found:
        return []
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(
            f"SELECT {selected} FROM read_parquet({found}, hive_partitioning = false) ORDER BY ALL"
        ).fetchall()
