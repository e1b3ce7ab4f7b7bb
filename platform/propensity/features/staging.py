"""Every event that may matter for some as_ofs, read once: `staged`, the relation that signals and labels start from."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from propensity.features.events import event_files
from propensity.warehouse.connection import quoted

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

    from propensity.settings import Settings
    from propensity.warehouse.runs import RunRecord


def staging_sql() -> str:
    """Return the text of staging.sql, which says what `staged` holds."""
    return resources.files("propensity.features").joinpath("staging.sql").read_text()


def stage_events(
    settings: Settings, connection: duckdb.DuckDBPyConnection, imports: list[RunRecord], end_us: int, directory: Path
) -> None:
    """Create the connection's view `staged` over the imports' events before an instant.

    As a file rather than a table: a table takes a fifth of a KB of memory an event, and whatever is computed from a
    large one has to spill. Imports are sorted by customer, so a bucket of customers reads a few row groups of it.

    Args:
        settings: Say where the lake is, and in which time zone days are.
        connection: Gets the view.
        imports: Whose events.
        end_us: The instant in microseconds since 1970.
        directory: Holds the file for as long as the view is read.

    Raises:
        MissingSnapshotError: The catalogue knows an import whose files are gone from the lake.
    """
    file = quoted(str(directory / "staged.parquet"))
    connection.execute(
        f"COPY ({staging_sql()}) TO {file} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)",
        {"files": event_files(settings, imports), "timezone": settings.timezone, "end": end_us},
    )
    connection.execute(f"CREATE OR REPLACE TEMP VIEW staged AS FROM read_parquet({file})")
