"""Publications: the scoring runs that readers can see, which is the newest, and which one is online.

Newer is, of one as_of, what was created later; of two as_ofs, the later one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pyarrow.parquet as pq

from propensity import columns
from propensity.warehouse.lake import Lake
from propensity.warehouse.runs import RunRecord, list_runs

if TYPE_CHECKING:
    from pathlib import Path

    from propensity.settings import Settings

SCORING_RUN: Final = "scoring"
"""The kind of run that is published."""
PUBLISHED: Final = "published"
EXPIRED: Final = "expired"
"""No reader is to see it any more; its files are deleted, or about to be."""


def publications(settings: Settings, as_of: datetime | None = None) -> list[RunRecord]:
    """Return the region's publications that haven't expired, oldest first, of one as_of if given. Read-only."""
    return list_runs(settings, kind=SCORING_RUN, as_of=as_of, state=PUBLISHED)


def newest_publication(settings: Settings, as_of: datetime) -> RunRecord | None:
    """Return the publication of the as_of that SQL and Feast read, or None before there is one. Read-only."""
    return max(publications(settings, as_of), key=age_order, default=None)


def age_order(run: RunRecord) -> tuple[Any, ...]:
    """Return a key that sorts publications from the oldest to the newest, whatever their as_ofs."""
    return run.as_of, run.created_timestamp


def newest_of_each_as_of(published: Iterable[RunRecord]) -> set[str]:
    """Return the run ids that readers see: of each as_of the newest."""
    return {run.run_id for run in {run.as_of: run for run in sorted(published, key=age_order)}.values()}


def newest_online(published: Sequence[RunRecord]) -> RunRecord | None:
    """Return the newest publication that was put online whole, or None."""
    return max((run for run in published if run.detail.get("online")), key=age_order, default=None)


def created_after(newest: RunRecord | None) -> datetime:
    """Return a creation time for a publication's rows that is later than the newest one's, also to the second.

    Feast's sqlite store keeps whole seconds: what was published within the second would look as old as its predecessor.
    """
    now = datetime.now(UTC)
    return now if newest is None else max(now, newest.created_timestamp.replace(microsecond=0) + timedelta(seconds=1))


def created_timestamp(directory: Path) -> datetime:
    """Return the creation time of a run's rows; now, where it has none."""
    for file in sorted(directory.glob("*.parquet")):
        with pq.ParquetFile(file) as parquet:
            first = next(parquet.iter_batches(1, columns=[columns.CREATED_TIMESTAMP]), None)
        if first is not None and first.num_rows:
            created: datetime = first.column(0)[0].as_py()
            return created
    return datetime.now(UTC)


def row_count(directory: Path) -> int:
    """Return how many rows a run's files hold."""
    return sum(pq.read_metadata(file).num_rows for file in directory.glob("*.parquet"))


def directory_of(settings: Settings, run: RunRecord) -> Path:
    """Return where a scoring run's files are, or were."""
    return Lake(settings.lake).run_directory(columns.CATEGORY_PROPENSITY, run.region, run.run_id, run.as_of)
