"""Runs in the catalogue: recorded once, looked up by id, kind or as_of."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from propensity.warehouse.catalogue import Run
from propensity.warehouse.catalogue_session import catalogue_session

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from propensity.settings import Settings


@dataclass(frozen=True)
class RunRecord:
    """A run as the catalogue knows it; see `catalogue.Run`."""

    run_id: str
    region: str
    kind: str
    state: str
    as_of: datetime | None
    rows: int
    seconds: float
    created_timestamp: datetime
    detail: dict[str, Any]


def fingerprint(*inputs: object) -> str:
    """Return 12 hex digits that name the inputs; equal inputs, equal name, on any machine."""
    text = json.dumps(inputs, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def find_run(settings: Settings, run_id: str) -> RunRecord | None:
    """Return the run, or None when the catalogue has none of that id. Read-only."""
    with catalogue_session(settings) as session:
        row = session.get(Run, run_id)
        return None if row is None else as_record(row)


def list_runs(
    settings: Settings, *, kind: str | None = None, as_of: datetime | None = None, state: str | None = None
) -> list[RunRecord]:
    """Return the region's runs, oldest first, of one kind, as_of and state if given. Read-only."""
    with catalogue_session(settings) as session:
        return runs_within(session, settings.region, kind=kind, as_of=as_of, state=state)


def runs_within(
    session: Session,
    region: str,
    *,
    kind: str | None = None,
    as_of: datetime | None = None,
    state: str | None = None,
) -> list[RunRecord]:
    """Return what `list_runs` returns, within the caller's transaction."""
    query = select(Run).where(Run.region == region).order_by(Run.created_timestamp, Run.run_id)
    for column, value in ((Run.kind, kind), (Run.as_of, as_of), (Run.state, state)):
        if value is not None:
            query = query.where(column == value)
    return [as_record(row) for row in session.scalars(query)]


def record_run(session: Session, run: RunRecord) -> None:
    """Insert the run, or replace the one of the same id, within the caller's transaction."""
    session.merge(
        Run(
            run_id=run.run_id,
            region=run.region,
            kind=run.kind,
            state=run.state,
            as_of=run.as_of,
            rows=run.rows,
            seconds=run.seconds,
            created_timestamp=run.created_timestamp,
            detail=json.dumps(run.detail, sort_keys=True, default=str),
        )
    )


def mark_run(session: Session, run_id: str, *, state: str | None = None, **facts: Any) -> RunRecord | None:
    """Add facts to a run's detail, and change its state if one is given; return it as it is then.

    Within the caller's transaction, so that what another process has added since the run was read stays. None when the
    catalogue has no such run.
    """
    row = session.get(Run, run_id)
    if row is None:
        return None
    row.state = state or row.state
    row.detail = json.dumps(json.loads(row.detail) | facts, sort_keys=True, default=str)
    return as_record(row)


def as_record(row: Run) -> RunRecord:
    """Return the catalogue row as a value that outlives its session."""
    return RunRecord(
        row.run_id,
        row.region,
        row.kind,
        row.state,
        None if row.as_of is None else row.as_of.astimezone(UTC),
        row.rows,
        row.seconds,
        row.created_timestamp.astimezone(UTC),
        json.loads(row.detail),
    )
