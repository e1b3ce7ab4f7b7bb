"""Which of a source's files are new, which the region has already, and which replace an earlier reading.

Without this a cron job that imports a growing directory would count every purchase again, and so would someone who
repeats an import with the right time zone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from propensity.errors import InputError
from propensity.warehouse.catalogue import Run
from propensity.warehouse.catalogue_session import catalogue_session
from propensity.warehouse.runs import RunRecord, as_record

if TYPE_CHECKING:
    import duckdb
    from sqlalchemy.orm import Session

    from propensity.settings import Settings


@dataclass(frozen=True)
class SourceDigest:
    """What one file (or query) holds; the order of its rows and its name don't matter.

    Attributes:
        name: The file's name.
        rows: Its rows.
        raw: Digest of its rows as they stand in the source.
        content: Digest of its rows as they were read: instants, categories and reasons.
    """

    name: str
    rows: int
    raw: str
    content: str

    @property
    def key(self) -> tuple[str, str]:
        """What identifies these rows in this reading."""
        return self.raw, self.content

    def as_detail(self) -> dict[str, str | int]:
        """Return the form that a run's detail keeps."""
        return {"name": self.name, "rows": self.rows, "raw": self.raw, "content": self.content}


@dataclass(frozen=True)
class ImportPlan:
    """What an import is to do.

    Attributes:
        fresh: Files to import.
        recorded: The region's imports when the plan was made.
        replaced: Those of `recorded` that held the same rows in another reading; the import takes their place.
        kept: The rest of `recorded`.
        already_in: Set when nothing is to be done: the newest import that holds one of the files.
    """

    fresh: tuple[SourceDigest, ...]
    recorded: tuple[RunRecord, ...]
    replaced: tuple[RunRecord, ...]
    kept: tuple[RunRecord, ...]
    already_in: RunRecord | None


def source_digests(connection: duckdb.DuckDBPyConnection, names: Sequence[str]) -> list[SourceDigest]:
    """Return the digests of the files in the connection's table `checked`, by name; `names` are its content."""
    # md5 rather than DuckDB's hash(): that one may change between versions, and a rerun would import everything twice.
    row = ", ".join(f"{name}::VARCHAR" for name in (*names, "reason"))
    rows = connection.execute(f"""
        SELECT source_name, count(*), sum(raw_digest::HUGEINT)::VARCHAR,
               sum(md5_number_lower(to_json([{row}]))::HUGEINT)::VARCHAR
        FROM checked GROUP BY source_name ORDER BY source_name
    """).fetchall()
    return [SourceDigest(name, count, raw, content) for name, count, raw, content in rows]


def plan_import(settings: Settings, digests: Sequence[SourceDigest], source_name: str) -> ImportPlan:
    """Compare the files with the region's imports. Read-only.

    Raises:
        InputError: Some of the files were imported before in another reading, together with files that aren't given.
    """
    with catalogue_session(settings) as session:
        recorded = active_imports(session, settings)
    held = {run.run_id: _held(run) for run in recorded}
    contents = {content for sources in held.values() for _, content in sources}
    changed = {digest.raw for digest in digests if digest.content not in contents}
    given = {digest.raw for digest in digests}
    replaced = tuple(run for run in recorded if changed & {raw for raw, _ in held[run.run_id]})
    for run in replaced:
        absent = [source["name"] for source in run.detail["sources"] if source["raw"] not in given]
        if absent:
            raise InputError(
                f"{source_name} was imported before, read differently (time zone, columns or items), together with "
                f"{', '.join(absent[:3])}{', …' if len(absent) > 3 else ''} as {run.run_id}. Import those files along "
                "with it, so that the new reading can replace the old one. Nothing was imported."
            )
    kept = tuple(run for run in recorded if run not in replaced)
    known = {content for run in kept for _, content in held[run.run_id]}
    fresh: dict[str, SourceDigest] = {}
    for digest in digests:
        if digest.content not in known:
            fresh.setdefault(digest.content, digest)
    contained = [run for run in kept if {digest.content for digest in digests} & {pair[1] for pair in held[run.run_id]}]
    return ImportPlan(tuple(fresh.values()), recorded, replaced, kept, contained[-1] if not fresh else None)


def active_imports(session: Session, settings: Settings) -> tuple[RunRecord, ...]:
    """Return the region's imports of events that count, oldest first, within the caller's transaction."""
    query = select(Run).where(Run.region == settings.region, Run.kind == "import", Run.state == "finished")
    return tuple(as_record(row) for row in session.scalars(query.order_by(Run.created_timestamp, Run.run_id)))


def replace_imports(session: Session, plan: ImportPlan, run_id: str) -> None:
    """Mark the plan's replaced imports as superseded by `run_id`, within the caller's transaction.

    They lose the range of their events: whoever looks for imports by it finds them no more.
    """
    for replaced in plan.replaced:
        row = session.get_one(Run, replaced.run_id)
        row.state = "superseded"
        detail = {
            key: value
            for key, value in replaced.detail.items()
            if key not in ("first_event_timestamp", "last_event_timestamp")
        }
        row.detail = json.dumps(detail | {"superseded_by": run_id}, sort_keys=True)


def _held(run: RunRecord) -> set[tuple[str, str]]:
    return {(source["raw"], source["content"]) for source in run.detail.get("sources", [])}
