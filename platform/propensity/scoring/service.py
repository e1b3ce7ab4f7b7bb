"""Scoring a snapshot: stream it through the scorer and publish the result as one run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from propensity import columns
from propensity.features.popularity import popularity
from propensity.features.snapshot_reader import read_snapshot
from propensity.features.snapshots import find_snapshot
from propensity.models.artifact import Artifact, read_artifact
from propensity.models.registry import RegisteredModel, find_model, model_for
from propensity.progress import Progress, silent
from propensity.scoring.scorer import Scorer
from propensity.warehouse.catalogue_session import catalogue_session
from propensity.warehouse.lake import Lake
from propensity.warehouse.regions import check_region
from propensity.warehouse.runs import RunRecord, fingerprint, list_runs, record_run
from propensity.warehouse.schemas import CLASS_PROPENSITY_SCHEMA, PROPENSITY_SCHEMA
from propensity.warehouse.sql_views import refresh_views

if TYPE_CHECKING:
    from pathlib import Path

    from propensity.features.snapshots import Snapshot
    from propensity.settings import Settings

PART: Final = "part-0.parquet"


@dataclass(frozen=True)
class ScoringResult:
    """A published run.

    Attributes:
        run: Its record.
        model: The model that scored.
        already_published: It was the newest publication of its as_of before.
    """

    run: RunRecord
    model: RegisteredModel
    already_published: bool


def score(
    settings: Settings, as_of: datetime, model_version: str | None = None, progress: Progress = silent
) -> ScoringResult:
    """Score every customer of the snapshot of `as_of` and publish the propensities.

    Args:
        model_version: By default `registry.model_for(settings, as_of)`.

    Raises:
        UnknownRegionError: The region was never imported.
        MissingSnapshotError: No snapshot was built for `as_of`.
        UnknownModelError: No such model, or none trained by `as_of`.
        ArtifactError: The artifact is damaged.

    Side effects: one run in the lake's `category_propensity`, whole or not at all; the SQL views; its record, which is
    what publishes it. When the newest publication of `as_of` is of the same snapshot and model, nothing changes; when
    only an older one is, its scores are published anew, since the newest counts.
    """
    started = time.monotonic()
    check_region(settings)
    snapshot = find_snapshot(settings, as_of)
    model = model_for(settings, as_of) if model_version is None else find_model(settings, model_version)
    artifact = read_artifact(model.artifact)
    inputs = fingerprint(settings.region, as_of.isoformat(), snapshot.run_id, artifact.sha256, settings.top_k)
    lake = Lake(settings.lake)
    newest = _newest_publication(settings, as_of)
    if (
        newest is not None
        and newest.detail.get("inputs") == inputs
        and lake.has_run(columns.CATEGORY_PROPENSITY, settings.region, newest.run_id, as_of)
    ):
        return ScoringResult(newest, model, already_published=True)
    run_id = f"scoring-{fingerprint(inputs, newest and newest.run_id)}"
    # It is there already where a scoring was killed before it was recorded.
    if not lake.has_run(columns.CATEGORY_PROPENSITY, settings.region, run_id, as_of):
        _write(settings, lake, run_id, snapshot, artifact, _created_after(newest), progress)
    file = lake.run_directory(columns.CATEGORY_PROPENSITY, settings.region, run_id, as_of) / PART
    run = RunRecord(
        run_id,
        settings.region,
        "scoring",
        "published",
        as_of,
        pq.read_metadata(file).num_rows,
        time.monotonic() - started,
        # The rows' own: Feast takes the newest by it, SQL by the record's, and the two must agree.
        _created_timestamp(file),
        {
            "model_version": model.model_version,
            "event_types": list(artifact.metadata.event_types),
            "snapshot": snapshot.run_id,
            "inputs": inputs,
        },
    )
    refresh_views(settings)
    with catalogue_session(settings) as session:
        record_run(session, run)
    return ScoringResult(run, model, already_published=False)


def _newest_publication(settings: Settings, as_of: datetime) -> RunRecord | None:
    published = [run for run in list_runs(settings, kind="scoring", as_of=as_of) if run.state == "published"]
    return published[-1] if published else None


def _created_after(newest: RunRecord | None) -> datetime:
    now = datetime.now(UTC)
    return now if newest is None else max(now, newest.created_timestamp + timedelta(microseconds=1))


def _created_timestamp(file: Path) -> datetime:
    with pq.ParquetFile(file) as parquet:
        first = next(parquet.iter_batches(1, columns=[columns.CREATED_TIMESTAMP]), None)
    created: datetime = datetime.now(UTC) if first is None else first.column(0)[0].as_py()
    return created


def _write(
    settings: Settings,
    lake: Lake,
    run_id: str,
    snapshot: Snapshot,
    artifact: Artifact,
    created_timestamp: datetime,
    progress: Progress,
) -> None:
    n_categories = 1 + max(entry.category_index for entry in artifact.metadata.categories)
    shares = popularity(settings, snapshot, n_categories)
    scorer = Scorer(artifact.model, dict(enumerate(shares.tolist())), top_k=settings.top_k)
    schema = PROPENSITY_SCHEMA if artifact.metadata.n_classes == 2 else CLASS_PROPENSITY_SCHEMA
    created = pa.scalar(created_timestamp, pa.timestamp("us", "UTC"))
    done = 0
    with (
        lake.new_run(columns.CATEGORY_PROPENSITY, settings.region, run_id, snapshot.as_of) as directory,
        pq.ParquetWriter(
            directory / PART,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=[columns.REGION, columns.MODEL_VERSION, columns.RUN_ID],
        ) as writer,
    ):
        for batch in read_snapshot(settings, snapshot):
            scores = scorer.score(batch)
            n = scores.num_rows
            constant = {
                columns.CREATED_TIMESTAMP: pa.repeat(created, n),
                columns.REGION: pa.repeat(settings.region, n),
                columns.MODEL_VERSION: pa.repeat(artifact.metadata.model_version, n),
                columns.RUN_ID: pa.repeat(run_id, n),
            }
            writer.write_batch(
                pa.RecordBatch.from_arrays(
                    [constant[name] if name in constant else scores.column(name) for name in schema.names],
                    schema=schema,
                )
            )
            done += n
            progress("scoring", done, snapshot.rows)
