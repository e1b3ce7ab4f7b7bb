"""Scoring a snapshot: part by part through the scorer, and the result published as one run."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from propensity import columns
from propensity.features.snapshot_reader import snapshot_rows
from propensity.features.snapshots import find_snapshot
from propensity.models.artifact import Artifact, read_artifact
from propensity.models.registry import RegisteredModel, find_model, model_for
from propensity.progress import Progress, silent
from propensity.scoring import local_engine, spark_engine
from propensity.scoring.expiring import Expiry, expire_by_retention
from propensity.scoring.feast_features import FeastFeatures, feast_features
from propensity.scoring.job import ScoringJob
from propensity.scoring.manifests import Staging
from propensity.scoring.output_forms import OutputForm
from propensity.scoring.parts import parts_of
from propensity.warehouse.catalogue_session import catalogue_session
from propensity.warehouse.lake import Lake
from propensity.warehouse.publications import created_after, created_timestamp, newest_publication, row_count
from propensity.warehouse.region_lock import SCORING, alone_in_region
from propensity.warehouse.regions import check_region
from propensity.warehouse.runs import RunRecord, fingerprint, record_run
from propensity.warehouse.sql_views import refresh_views
from propensity.warehouse.unfinished import drop_outdated, unfinished_run

if TYPE_CHECKING:
    from propensity.features.snapshot import Snapshot
    from propensity.settings import Settings


@dataclass(frozen=True)
class ScoringResult:
    """A published run.

    Attributes:
        run: Its record.
        model: The model that scored.
        already_published: It was the newest publication of its as_of before.
        retention: What expired afterwards.
    """

    run: RunRecord
    model: RegisteredModel
    already_published: bool
    retention: Expiry = field(default_factory=Expiry)


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
        WarehouseLockedError: Another process is publishing in this region.
        SettingsError: Full vectors are to be served online, and the output form keeps none.

    Side effects: one run in the lake's `category_propensity`, whole or not at all; the SQL views; its record, which is
    what publishes it; what the retention settings let expire. A scoring that was killed goes on where it was, with the
    created_timestamp it began with. When the newest publication of `as_of` is of the same snapshot, model, output form
    and format of weights, nothing changes; when only an older one is, its scores are published anew, since the newest
    counts.
    """
    check_region(settings)
    with alone_in_region(settings, SCORING):
        snapshot = find_snapshot(settings, as_of)
        with _features(settings, snapshot, progress) as features:
            result = _score(settings, snapshot, features, model_version, progress)
        return replace(result, retention=expire_by_retention(settings))


def _features(
    settings: Settings, snapshot: Snapshot, progress: Progress
) -> AbstractContextManager[FeastFeatures | None]:
    """Return a block with Feast's features of the snapshot's customers, or with None where the lake's own are meant."""
    return feast_features(settings, snapshot, progress) if settings.scoring.features_from == "feast" else nullcontext()


def _score(
    settings: Settings,
    snapshot: Snapshot,
    features: FeastFeatures | None,
    model_version: str | None,
    progress: Progress,
) -> ScoringResult:
    started = time.monotonic()
    as_of = snapshot.as_of
    model = model_for(settings, as_of) if model_version is None else find_model(settings, model_version)
    artifact = read_artifact(model.artifact)
    output = OutputForm.of(settings)
    # What could be no other before there were others counts where it is another: older runs keep their names.
    others: list[object] = [] if output.name == "full" else [output.described()]
    if settings.scoring.sparse_weights != "float32":
        others.append({"sparse_weights": settings.scoring.sparse_weights})
    if features is not None:
        others += ["feast", features.sha256]
    inputs = fingerprint(settings.region, as_of.isoformat(), snapshot.run_id, artifact.sha256, settings.top_k, *others)
    lake = Lake(settings.lake)
    newest = newest_publication(settings, as_of)
    if (
        newest is not None
        and newest.detail.get("inputs") == inputs
        and lake.has_run(columns.CATEGORY_PROPENSITY, settings.region, newest.run_id, as_of)
    ):
        return ScoringResult(newest, model, already_published=True)
    run_id = f"scoring-{fingerprint(inputs, newest and newest.run_id)}"
    # It is there already where a scoring was killed before it was recorded.
    written = lake.has_run(columns.CATEGORY_PROPENSITY, settings.region, run_id, as_of)
    drop_outdated(lake, columns.CATEGORY_PROPENSITY, settings.region, as_of, current=None if written else run_id)
    if not written:
        _write(settings, lake, run_id, snapshot, features, artifact, created_after(newest), progress)
    directory = lake.run_directory(columns.CATEGORY_PROPENSITY, settings.region, run_id, as_of)
    run = RunRecord(
        run_id,
        settings.region,
        "scoring",
        "published",
        as_of,
        row_count(directory),
        time.monotonic() - started,
        # The rows' own: Feast takes the newest by it, SQL by the record's, and the two must agree.
        created_timestamp(directory),
        {
            "model_version": model.model_version,
            "event_types": list(artifact.metadata.event_types),
            "snapshot": snapshot.run_id,
            "inputs": inputs,
            "output": output.described(),
            "sparse_weights": settings.scoring.sparse_weights,
        },
    )
    refresh_views(settings)
    with catalogue_session(settings) as session:
        record_run(session, run)
    return ScoringResult(run, model, already_published=False)


def _write(
    settings: Settings,
    lake: Lake,
    run_id: str,
    snapshot: Snapshot,
    features: FeastFeatures | None,
    artifact: Artifact,
    created_timestamp: datetime,
    progress: Progress,
) -> None:
    """Score what an earlier attempt at the run hasn't, and let the run appear in the lake."""
    run = (columns.CATEGORY_PROPENSITY, settings.region, run_id, snapshot.as_of)
    with unfinished_run(lake, *run, wait_seconds=settings.lock_timeout_seconds) as directory:
        if lake.has_run(*run):
            return  # the process that was waited for has finished it
        staging = Staging(directory)
        job = ScoringJob(
            region=settings.region,
            run_id=run_id,
            created_timestamp=staging.prepare(created_timestamp),
            snapshot=snapshot,
            artifact_sha256=artifact.sha256,
            model_version=artifact.metadata.model_version,
            n_categories=len(artifact.metadata.categories),
            n_classes=artifact.metadata.n_classes,
            top_k=settings.top_k,
            output=OutputForm.of(settings),
            features=features,
            sparse_weights=settings.scoring.sparse_weights,
        )
        held = job.output.held_row_bytes(job.n_categories, job.n_classes)
        parts = parts_of(snapshot_rows(settings, snapshot), held)
        staging.keep(parts)
        if settings.scoring.engine == "spark":
            spark_engine.score_parts(settings, job, artifact.directory, staging, parts, progress)
        else:
            local_engine.score_parts(settings, job, job.open_scorer(settings, artifact.model), staging, parts, progress)
        lake.publish(staging.parts, *run)
