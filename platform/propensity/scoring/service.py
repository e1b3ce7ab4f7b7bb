"""Scoring a snapshot: stream it through the scorer and publish the result as one run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from propensity import columns
from propensity.features.snapshot_reader import read_snapshot
from propensity.features.snapshots import find_snapshot
from propensity.models.artifact import Artifact, read_artifact
from propensity.models.registry import RegisteredModel, find_model, model_for
from propensity.progress import Progress, silent
from propensity.scoring.scorer import Scorer
from propensity.training.training_set import popularity
from propensity.warehouse.catalogue_session import catalogue_session
from propensity.warehouse.lake import Lake
from propensity.warehouse.runs import RunRecord, find_run, fingerprint, record_run
from propensity.warehouse.schemas import PROPENSITY_SCHEMA
from propensity.warehouse.sql_views import refresh_views

if TYPE_CHECKING:
    from propensity.features.snapshots import Snapshot
    from propensity.settings import Settings


@dataclass(frozen=True)
class ScoringResult:
    """A published run.

    Attributes:
        run: Its record.
        model: The model that scored.
        already_published: The same model had scored the same snapshot.
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
        MissingSnapshotError: No snapshot was built for `as_of`.
        UnknownModelError: No such model, or none trained by `as_of`.
        ArtifactError: The artifact is damaged.

    Side effects: one run in the lake's `category_propensity`, whole or not at all; its record; the SQL views. The
    same snapshot and model again are the same run and change nothing.
    """
    started = time.monotonic()
    snapshot = find_snapshot(settings, as_of)
    model = model_for(settings, as_of) if model_version is None else find_model(settings, model_version)
    artifact = read_artifact(model.artifact)
    run_id = "scoring-" + fingerprint(
        settings.region, as_of.isoformat(), snapshot.run_id, artifact.sha256, settings.top_k
    )
    lake = Lake(settings.lake)
    known = find_run(settings, run_id)
    if known is not None and lake.has_run(columns.CATEGORY_PROPENSITY, settings.region, run_id, as_of):
        return ScoringResult(known, model, already_published=True)
    if not lake.has_run(columns.CATEGORY_PROPENSITY, settings.region, run_id, as_of):
        _write(settings, lake, run_id, snapshot, artifact, progress)
    run = RunRecord(
        run_id,
        settings.region,
        "scoring",
        "published",
        as_of,
        snapshot.rows,
        time.monotonic() - started,
        datetime.now(UTC),
        {"model_version": model.model_version, "snapshot": snapshot.run_id},
    )
    with catalogue_session(settings) as session:
        record_run(session, run)
    refresh_views(settings)
    return ScoringResult(run, model, already_published=False)


def _write(
    settings: Settings, lake: Lake, run_id: str, snapshot: Snapshot, artifact: Artifact, progress: Progress
) -> None:
    n_categories = 1 + max(entry.category_index for entry in artifact.metadata.categories)
    shares = popularity(settings, snapshot, n_categories)
    scorer = Scorer(artifact.model, dict(enumerate(shares.tolist())), top_k=settings.top_k)
    created = pa.scalar(datetime.now(UTC), pa.timestamp("us", "UTC"))
    done = 0
    with (
        lake.new_run(columns.CATEGORY_PROPENSITY, settings.region, run_id, snapshot.as_of) as directory,
        pq.ParquetWriter(
            directory / "part-0.parquet",
            PROPENSITY_SCHEMA,
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
                    [constant[name] if name in constant else scores.column(name) for name in PROPENSITY_SCHEMA.names],
                    schema=PROPENSITY_SCHEMA,
                )
            )
            done += n
            progress("scoring", done, snapshot.rows)
