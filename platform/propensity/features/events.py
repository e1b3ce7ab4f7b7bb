"""What the lake knows of events: which imports matter for an instant, and how far the data reaches."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from propensity import columns
from propensity.errors import MissingSnapshotError
from propensity.warehouse.lake import Lake
from propensity.warehouse.regions import check_region, local_midnight
from propensity.warehouse.runs import RunRecord, list_runs

if TYPE_CHECKING:
    from propensity.settings import Settings


def event_imports(settings: Settings) -> list[RunRecord]:
    """Return the region's imports of events, oldest first. Read-only.

    Raises:
        UnknownRegionError: The region was never imported.
        MissingSnapshotError: It has no events.
    """
    check_region(settings)
    runs = [run for run in list_runs(settings, kind="import") if "first_event_timestamp" in run.detail]
    if not runs:
        raise MissingSnapshotError(f"Region {settings.region!r} has no events. Import some: propensity import --help")
    return runs


def imports_before(imports: list[RunRecord], instant: datetime) -> list[str]:
    """Return the ids of imports that hold any event before `instant`: only they can matter for it.

    So tomorrow's import doesn't make yesterday's snapshot stale, and a late one that reaches back does.
    """
    return sorted(
        run.run_id for run in imports if datetime.fromisoformat(run.detail["first_event_timestamp"]) < instant
    )


def event_files(settings: Settings, imports: list[RunRecord]) -> list[str]:
    """Return the Parquet files of those imports.

    Raises:
        MissingSnapshotError: The catalogue knows an import whose files are gone from the lake.
    """
    lake = Lake(settings.lake)
    files = []
    for run in imports:
        found = lake.files(columns.EVENTS, settings.region, run_id=run.run_id)
        if not found:
            raise MissingSnapshotError(
                f"The lake lacks {lake.run_directory(columns.EVENTS, settings.region, run.run_id)}. "
                "Restore it, or import the source again."
            )
        files += [str(file) for file in found]
    return files


def data_end(settings: Settings, imports: list[RunRecord]) -> datetime:
    """Return the instant up to which days are complete: the midnight that ends the newest event's local day."""
    newest = max(datetime.fromisoformat(run.detail["last_event_timestamp"]) for run in imports)
    day = newest.astimezone(settings.zone).date()
    return local_midnight(day + timedelta(days=1), settings).astimezone(UTC)


def check_reach(settings: Settings, as_ofs: list[datetime], imports: list[RunRecord]) -> None:
    """Raise unless the imports reach from before each as_of up to it.

    Raises:
        MissingSnapshotError: No event precedes one of them, or the data end before it.
    """
    end = data_end(settings, imports)
    for as_of in as_ofs:
        if not imports_before(imports, as_of):
            raise MissingSnapshotError(
                f"Region {settings.region!r} has no event before {as_of.isoformat()}: nothing to build from."
            )
        if as_of > end:
            raise MissingSnapshotError(
                f"The events of region {settings.region!r} end by {end.isoformat()}, before {as_of.isoformat()}. "
                "Import newer events, or choose an earlier as_of."
            )
