"""Training a model as of an instant, from Feast to a registered artifact."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from propensity.errors import UnknownModelError
from propensity.features.labels import find_labels
from propensity.features.snapshots import find_snapshot
from propensity.models.artifact import TrainingFacts, read_artifact, write_artifact
from propensity.models.registry import RegisteredModel, list_models, model_for, register_model
from propensity.progress import Progress, silent
from propensity.training.cutoffs import Cutoffs, training_cutoffs
from propensity.training.training_set import training_set
from propensity.warehouse.runs import fingerprint

if TYPE_CHECKING:
    from propensity.settings import Settings
    from propensity.training.examples import Examples


@dataclass(frozen=True)
class TrainingResult:
    """What a training did.

    Attributes:
        model: The registered model.
        examples: Rows of the net that was kept; 0 when the model was there already.
        already_trained: The same data and settings had been trained before.
        seconds: Wall time.
    """

    model: RegisteredModel
    examples: int
    already_trained: bool
    seconds: float


def train(settings: Settings, trained_as_of: datetime, progress: Progress = silent) -> TrainingResult:
    """Train on snapshots and labels that were built, write the artifact and register it.

    The model's version is derived from the data and the settings: the same training again finds the artifact there.

    Raises:
        MissingSnapshotError: A snapshot or labels are missing; `propensity run` builds them.
        TrainingError: There's too little to learn from.

    Side effects: a new directory under `home/models`, rows in the catalogue. Safe to repeat and to kill.
    """
    started = time.monotonic()
    cutoffs = training_cutoffs(settings, trained_as_of)
    data = data_fingerprint(settings, cutoffs)
    version = (
        f"{trained_as_of.astimezone(settings.zone):%Y%m%d}-{fingerprint(data, settings.training.model_dump())[:8]}"
    )
    directory = settings.models / settings.region / version
    already_trained = directory.is_dir()
    rows = 0
    if not already_trained:
        rows = _train(settings, cutoffs, version, data, progress)
    known = [model for model in list_models(settings) if model.model_version == version]
    model = known[0] if known else register_model(settings, read_artifact(directory), trained_as_of)
    return TrainingResult(model, rows, already_trained, time.monotonic() - started)


def data_fingerprint(settings: Settings, cutoffs: Cutoffs) -> str:
    """Return a name for the features and labels of the cut-offs, those that Feast gives: their runs' contents.

    Raises:
        MissingSnapshotError: A snapshot or labels are missing.
    """
    return fingerprint(
        settings.region,
        [(find_snapshot(settings, as_of).contents, find_labels(settings, as_of).contents) for as_of in cutoffs.refit],
        cutoffs.train,
    )


def training_is_due(settings: Settings, as_of: datetime) -> bool:
    """Return whether no model was trained in the `retrain_after_days` up to `as_of`. Read-only."""
    try:
        model = model_for(settings, as_of)
    except UnknownModelError:
        return True
    return (as_of - model.trained_as_of).days >= settings.training.retrain_after_days


def _train(settings: Settings, cutoffs: Cutoffs, version: str, data: str, progress: Progress) -> int:
    # Here, not above: MXNet takes seconds to import, and asking whether training is due needn't.
    from propensity.training.fitting import Losses, fit  # noqa: PLC0415
    from propensity.training.mxnet_runtime import set_threads  # noqa: PLC0415

    set_threads(settings.threads)
    built = training_set(settings, cutoffs.refit)
    examples = built.examples

    def report(epoch: int, batch: int, n_batches: int, losses: Losses) -> None:
        progress(f"training, {losses.stage}", (epoch - 1) * n_batches + batch, losses.epochs * n_batches)

    fitted = fit(
        _of(examples, cutoffs.train),
        _of(examples, (cutoffs.validation,)),
        examples,
        dictionary=built.dictionary,
        categories=built.categories.names,
        settings=settings.training,
        progress=report,
        n_classes=settings.labels.n_classes,
    )
    facts = TrainingFacts(
        region=settings.region,
        model_version=version,
        horizon_days=settings.labels.horizon_days,
        event_types=settings.labels.event_types,
        training_as_ofs=cutoffs.refit,
        training_window=(cutoffs.refit[0], cutoffs.trained_as_of),
        validation_as_of=cutoffs.validation,
        data_fingerprint=data,
        settings=settings.training.model_dump(mode="json"),
    )
    write_artifact(
        settings.models / settings.region / version,
        fitted.model,
        facts=facts,
        dictionary=built.dictionary,
        metrics={"validation": {"log_loss": fitted.validation_loss, "best_epoch": fitted.best_epoch}},
        history=fitted.history,
        exports=fitted.exports,
    )
    return len(examples)


def _of(examples: Examples, as_ofs: tuple[datetime, ...]) -> Examples:
    wanted = np.array([as_of.replace(tzinfo=None) for as_of in as_ofs], "datetime64[us]")
    return examples.at(np.isin(examples.as_of, wanted))
