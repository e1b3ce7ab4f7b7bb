"""A run whole: its record, its files, and how it stands with those who read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from propensity.errors import UnknownRunError, did_you_mean
from propensity.warehouse.lake import Lake
from propensity.warehouse.publications import PUBLISHED, SCORING_RUN, newest_of_each_as_of, newest_online
from propensity.warehouse.runs import RunRecord, list_runs

if TYPE_CHECKING:
    from propensity.settings import Settings


@dataclass(frozen=True)
class RunFile:
    """A file of a run.

    Attributes:
        path: Relative to the home directory.
        bytes: Its size.
        rows: Of a Parquet file; None of another.
    """

    path: str
    bytes: int
    rows: int | None


@dataclass(frozen=True)
class RunDetails:
    """A run whole.

    Attributes:
        run: Its record.
        files: Its files in the lake; none after it has expired, or where it writes none.
        is_newest: It is what SQL and Feast read of its as_of; only a scoring run can be.
        is_online: It is the newest run that was put online.
    """

    run: RunRecord
    files: tuple[RunFile, ...]
    is_newest: bool
    is_online: bool

    @property
    def bytes(self) -> int:
        """Size of its files together."""
        return sum(file.bytes for file in self.files)


def run_details(settings: Settings, run_id: str) -> RunDetails:
    """Describe a run. Read-only.

    Raises:
        UnknownRunError: The region has no such run.
    """
    runs = {run.run_id: run for run in list_runs(settings)}
    run = runs.get(run_id)
    if run is None:
        raise UnknownRunError(f"Unknown run {run_id!r}.{did_you_mean(run_id, runs)} See: propensity runs list")
    published = [other for other in runs.values() if (other.kind, other.state) == (SCORING_RUN, PUBLISHED)]
    online = newest_online(published)
    files = (
        RunFile(
            str(file.relative_to(settings.home)),
            file.stat().st_size,
            pq.read_metadata(file).num_rows if file.suffix == ".parquet" else None,
        )
        for file in Lake(settings.lake).files_of_run(settings.region, run_id)
    )
    return RunDetails(
        run,
        tuple(files),
        is_newest=run_id in newest_of_each_as_of(published),
        is_online=online is not None and online.run_id == run_id,
    )
