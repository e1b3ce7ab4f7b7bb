"""The flow, stage after stage. No logic lives here: each stage knows what is finished and does only the rest."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from propensity.evaluation.judging import judge_challengers
from propensity.features.feature_store import apply_repository
from propensity.features.labels import build_labels
from propensity.features.snapshots import build_snapshots
from propensity.models.decisions import Decision
from propensity.models.registry import REFUSED, find_model
from propensity.progress import silent
from propensity.scoring.online import materialize
from propensity.scoring.service import ScoringResult, score
from propensity.training.cutoffs import training_cutoffs
from propensity.training.forecast import forecast_if_due
from propensity.training.service import TrainingResult, train, training_is_due
from propensity.warehouse.lake import Lake
from propensity.warehouse.migration import migrate
from propensity.warehouse.region_lock import alone_in_region
from propensity.warehouse.regions import check_region
from propensity.warehouse.sql_views import refresh_views

if TYPE_CHECKING:
    from propensity.settings import Settings


class Observer(Protocol):
    """Told of progress within a stage and of each stage's end."""

    def progress(self, step: str, done: int, total: int) -> None:
        """Report that `done` of `total` units of `step` are finished."""

    def finished(self, stage: str, what: str, seconds: float) -> None:
        """Report that a stage ended and what it did."""


class SilentObserver:
    """Observes nothing."""

    def progress(self, step: str, done: int, total: int) -> None:
        """Report nothing."""
        silent(step, done, total)

    def finished(self, stage: str, what: str, seconds: float) -> None:
        """Report nothing."""


@dataclass(frozen=True)
class PipelineResult:
    """What a run of the pipeline ended with.

    Attributes:
        training: The training, or None when none was due.
        decisions: What the gate decided in this run, on the model trained and on challengers left by a killed process.
        scoring: The publication.
        online: The scores were put online by this run; False when they were there.
    """

    training: TrainingResult | None
    decisions: tuple[Decision, ...]
    scoring: ScoringResult
    online: bool


def train_and_judge(
    settings: Settings, as_of: datetime, observer: Observer | None = None, *, from_model: str | None = None
) -> TrainingResult:
    """Train as of `as_of` on what was built, and let the gate decide on every challenger there is.

    A training of the region that is going on is waited for, up to `lock_timeout_seconds`; its artifact is found.

    Raises:
        WarehouseLockedError: Another process is running this region.
        TooLargeError: The training is forecast to need more memory than there is, and `refuse_beyond_memory` is set.
        PropensityError: A stage can't go on; what was finished before stays.

    Side effects: those of `training.service.train` and of `judging.judge_challengers`.
    """
    observer = observer or SilentObserver()
    with alone_in_region(settings):
        training = _train(settings, as_of, observer, from_model)
        _judge(settings, observer)
        return _as_settled(settings, training)


def run(settings: Settings, as_of: datetime, observer: Observer | None = None) -> PipelineResult:
    """Build what is missing, train if due, judge what was trained, score and publish as of `as_of`.

    A refused challenger changes nothing: the champion goes on scoring, and the observer is told why.

    Idempotent and resumable: killed at any moment and started again, it ends with what an undisturbed run gives.

    Raises:
        WarehouseLockedError: Another process is running this region.
        PropensityError: A stage can't go on; what was finished before stays.

    Side effects: those of the stages.
    """
    observer = observer or SilentObserver()
    with alone_in_region(settings):
        return _run(settings, as_of, observer)


def _run(settings: Settings, as_of: datetime, observer: Observer) -> PipelineResult:
    with _stage(observer, "migrate") as done:
        migrate(settings)
        check_region(settings)
        refresh_views(settings)
        done.append(f"catalogue {settings.warehouse}")
    Lake(settings.lake).drop_abandoned()
    due = training_is_due(settings, as_of)
    cutoffs = training_cutoffs(settings, as_of).refit if due else ()
    with _stage(observer, "features") as done:
        snapshots = build_snapshots(settings, [*cutoffs, as_of], observer.progress)
        done.append(f"{len(snapshots)} snapshots, {sum(snapshot.rows for snapshot in snapshots):,} rows")
    with _stage(observer, "labels") as done:
        labels = build_labels(settings, cutoffs, observer.progress)
        done.append(f"{len(labels)} label windows, {sum(label.rows for label in labels):,} rows")
    with _stage(observer, "apply") as done:
        done.append("feast apply" if apply_repository(settings) else "Feast's registry is up to date")
    training = _train(settings, as_of, observer) if due else None
    decisions = _judge(settings, observer)
    with _stage(observer, "score") as done:
        scoring = score(settings, as_of, progress=observer.progress)
        done.append(
            f"{scoring.run.rows:,} customers by model {scoring.model.model_version}"
            + (", published before" if scoring.already_published else ", published")
        )
        done.extend(scoring.retention.sentences)
    with _stage(observer, "materialize") as done:
        online = materialize(settings, scoring.run, observer.progress)
        done.append(f"{scoring.run.rows:,} customers online" if online else "online already")
    return PipelineResult(training and _as_settled(settings, training), decisions, scoring, online)


def _train(settings: Settings, as_of: datetime, observer: Observer, from_model: str | None = None) -> TrainingResult:
    with _stage(observer, "forecast") as done:
        forecast = forecast_if_due(settings, as_of, from_model=from_model)
        if forecast is not None and settings.refuse_beyond_memory:
            forecast.check()
        if forecast is not None and not forecast.tiny:
            done.append(forecast.sentence)
    with _stage(observer, "train") as done:
        training = train(settings, as_of, observer.progress, from_model=from_model)
        model = training.model
        done.append(
            f"model {model.model_version}"
            + (f", trained before ({model.state})" if training.already_trained else f" from {training.examples:,} rows")
        )
    return training


def _judge(settings: Settings, observer: Observer) -> tuple[Decision, ...]:
    with _stage(observer, "gate") as done:
        decisions = judge_challengers(settings, observer.progress)
        done.extend(map(_in_words, decisions))
    return decisions


def _in_words(decision: Decision) -> str:
    said = f"model {decision.model_version} {decision.verdict}: {decision.reason}"
    goes_on = decision.verdict == REFUSED and decision.previous_champion is not None
    return f"{said}; champion {decision.previous_champion} goes on scoring" if goes_on else said


def _as_settled(settings: Settings, training: TrainingResult) -> TrainingResult:
    return replace(training, model=find_model(settings, training.model.model_version))


@contextmanager
def _stage(observer: Observer, name: str) -> Iterator[list[str]]:
    started = time.monotonic()
    done: list[str] = []
    yield done
    if done:  # else there was nothing to do
        observer.finished(name, "; ".join(done), time.monotonic() - started)
