"""Expiry of publications: first the catalogue says so, then their files are deleted.

Killed in between, the files of an expired run lie there unread by SQL until the next publication or `propensity runs
expire` deletes them. Other readers (Feast's offline view, DuckDB over the lake) lose a run's files all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from propensity import columns
from propensity.errors import PublicationError, UnknownRunError, did_you_mean
from propensity.warehouse.catalogue_session import catalogue_session
from propensity.warehouse.lake import Lake
from propensity.warehouse.publications import (
    EXPIRED,
    PUBLISHED,
    SCORING_RUN,
    age_order,
    directory_of,
    newest_of_each_as_of,
    newest_online,
)
from propensity.warehouse.region_lock import SCORING, alone_in_region
from propensity.warehouse.runs import RunRecord, mark_run, runs_within

if TYPE_CHECKING:
    from propensity.settings import Settings

Choice = Callable[[Sequence[RunRecord]], Iterable[RunRecord]]
"""Of all scoring runs of a region, oldest first, those that shall expire."""


@dataclass(frozen=True)
class Expiry:
    """What expired.

    Attributes:
        runs: Publications that expired now, or would, oldest first.
        bytes_freed: Size of the files deleted, or to be deleted, also of runs that had expired before.
        problems: A sentence for each run whose files couldn't be deleted; the next expiry tries again.
    """

    runs: tuple[RunRecord, ...] = ()
    bytes_freed: int = 0
    problems: tuple[str, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """What there is to say of it, if anything."""
        expired = (f"{len(self.runs)} older {'run' if len(self.runs) == 1 else 'runs'} expired",) if self.runs else ()
        return expired + self.problems


def expire(settings: Settings, choose: Choice, *, dry_run: bool = False) -> Expiry:
    """Let publications expire and delete the files of all that have.

    Args:
        choose: E.g. `replaced(keep=1)` or `named([run_id])`.
        dry_run: Only say what would happen.

    Raises:
        UnknownRunError, PublicationError: What was chosen isn't there, or may not expire.
        WarehouseLockedError: Another process is publishing in this region.

    Side effects: the runs' state in the catalogue, then their directories in the lake; none with `dry_run`. Safe to
    repeat, and finishes what a killed expiry has left.
    """
    if dry_run:
        with catalogue_session(settings) as session:
            scorings = runs_within(session, settings.region, kind=SCORING_RUN)
        runs = _chosen(scorings, choose)
        doomed = [*runs, *(run for run in scorings if run.state == EXPIRED)]
        return Expiry(runs, sum(_bytes(settings, run) for run in doomed))
    with alone_in_region(settings, SCORING):
        return expire_alone(settings, choose)


def expire_by_retention(settings: Settings) -> Expiry:
    """Apply the retention settings; for callers that hold the region's SCORING lock. See `expire`."""
    return expire_alone(settings, by_retention(settings))


def expire_alone(settings: Settings, choose: Choice) -> Expiry:
    """Do what `expire` does; for callers that hold the region's SCORING lock."""
    with catalogue_session(settings) as session:
        # Read and marked in one transaction: what went online meanwhile is seen.
        scorings = runs_within(session, settings.region, kind=SCORING_RUN)
        runs = _chosen(scorings, choose)
        for run in runs:
            mark_run(session, run.run_id, state=EXPIRED, expired=datetime.now(UTC).isoformat())
    freed, problems = 0, []
    lake = Lake(settings.lake)
    for run in [*runs, *(run for run in scorings if run.state == EXPIRED)]:
        size = _bytes(settings, run)
        try:
            removed = lake.remove_run(columns.CATEGORY_PROPENSITY, run.region, run.run_id, run.as_of)
        except OSError as error:
            # What was published stays published: to fail here would keep it from going online.
            problems.append(f"The files of run {run.run_id} can't be deleted: {error}. Next: propensity runs expire")
        else:
            freed += size if removed else 0
    lake.drop_abandoned()
    return Expiry(runs, freed, tuple(problems))


def by_retention(settings: Settings) -> Choice:
    """Choose what the retention settings let expire."""
    days = settings.retention.max_age_days
    return replaced(keep=settings.retention.runs_per_as_of, older_than=None if days is None else timedelta(days=days))


def replaced(*, keep: int | None = None, older_than: timedelta | None = None) -> Choice:
    """Choose publications that a newer one of their as_of has replaced, but never the one that is online.

    Args:
        keep: Choose all but the newest so many of each as_of.
        older_than: Choose those that were published longer ago, too.
    """
    before = None if older_than is None else datetime.now(UTC) - older_than

    def choose(scorings: Sequence[RunRecord]) -> list[RunRecord]:
        published = _published(scorings)
        online = newest_online(published)
        chosen = []
        for run in published:
            newer = sum(other.as_of == run.as_of and age_order(other) > age_order(run) for other in published)
            surplus = keep is not None and newer >= keep
            too_old = before is not None and run.created_timestamp < before
            if newer and run != online and (surplus or too_old):
                chosen.append(run)
        return chosen

    return choose


def named(run_ids: Iterable[str]) -> Choice:
    """Choose publications by id; those that have expired before are passed over.

    Raises, when it chooses:
        UnknownRunError: There is no such scoring run.
        PublicationError: A run is the newest of its as_of, or online.
    """
    wanted = tuple(dict.fromkeys(run_ids))

    def choose(scorings: Sequence[RunRecord]) -> list[RunRecord]:
        published = _published(scorings)
        known = {run.run_id: run for run in scorings}
        newest, online = newest_of_each_as_of(published), newest_online(published)
        for run_id in wanted:
            if run_id not in known:
                raise UnknownRunError(
                    f"Unknown scoring run {run_id!r}.{did_you_mean(run_id, known)} "
                    "See: propensity runs list --kind scoring"
                )
            if run_id in newest:
                raise PublicationError(
                    f"Run {run_id} is the newest of its as_of, so it can't expire. Replace it first: propensity runs "
                    "republish RUN, or propensity score --help"
                )
            if online is not None and run_id == online.run_id:
                raise PublicationError(
                    f"Run {run_id} is online, so it can't expire. Put the newest one online first: propensity score "
                    f"--as-of {run_as_of(online)}"
                )
        return [run for run in published if run.run_id in wanted]

    return choose


def run_as_of(run: RunRecord) -> str:
    """Spell a run's as_of as the command line takes it."""
    return "" if run.as_of is None else run.as_of.isoformat()


def _published(scorings: Iterable[RunRecord]) -> list[RunRecord]:
    return [run for run in scorings if run.state == PUBLISHED]


def _chosen(scorings: Sequence[RunRecord], choose: Choice) -> tuple[RunRecord, ...]:
    return tuple(sorted(choose(scorings), key=age_order))


def _bytes(settings: Settings, run: RunRecord) -> int:
    return sum(file.stat().st_size for file in directory_of(settings, run).rglob("*") if file.is_file())
