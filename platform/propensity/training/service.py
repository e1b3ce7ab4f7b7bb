"""Training a model as of an instant, from Feast to a registered challenger."""

from __future__ import annotations

import importlib.metadata
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from propensity.errors import UnknownModelError
from propensity.features.labels import label_window_end
from propensity.models.artifact import Artifact, TrainingFacts, drop_abandoned, read_artifact, write_artifact
from propensity.models.registry import (
    RegisteredModel,
    find_model,
    list_models,
    model_for,
    predicts_labels,
    register_model,
)
from propensity.progress import Progress, silent
from propensity.training.planned_training import plan_training
from propensity.training.stored_training_set import stored_training_set
from propensity.training.warm_start import ended_by, models_to_start_from
from propensity.warehouse.lake import Lake
from propensity.warehouse.runs import fingerprint

if TYPE_CHECKING:
    from propensity.features.dictionary import FeatureDictionary
    from propensity.models.model import Model
    from propensity.settings import Settings
    from propensity.training.cutoffs import Cutoffs
    from propensity.training.examples import ExampleChunks, Examples
    from propensity.training.fitting import FittedModel
    from propensity.training.stored_examples import StoredExamples

    Rows = TypeVar("Rows", Examples, StoredExamples)


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


def train(
    settings: Settings, trained_as_of: datetime, progress: Progress = silent, *, from_model: str | None = None
) -> TrainingResult:
    """Train on snapshots and labels that were built, write the artifact and register it as a challenger.

    The model's version is derived from the data and the settings: the same training again finds the artifact there, and
    the model in the state it has reached. Where the artifact was lost it is made again. `pipeline.train_and_judge`
    holds the region's lock around this and lets the gate decide. Killed and given again, it goes on after the last
    finished epoch, to the same bits.

    Args:
        trained_as_of: No label window used ends later.
        progress: Told of each epoch.
        from_model: Version of a registered model whose weights the nets start from, with `training.warm_epochs` and
            `training.warm_learning_rate`; None starts from new ones.

    Raises:
        UnknownModelError: There is no model `from_model`.
        MissingSnapshotError: A snapshot or labels are missing; `propensity run` builds them.
        TrainingError: There's too little to learn from.
        ArtifactError: The artifact is there but damaged.

    Side effects: removes what killed trainings of other data or settings left; a new directory under `home/models`,
    rows in the catalogue; meanwhile checkpoints under `home/checkpoints`. Safe to repeat and to kill.
    """
    started = time.monotonic()
    plan = plan_training(settings, trained_as_of, from_model)
    directory, version = plan.directory, plan.directory.name
    previous = None if from_model is None else read_artifact(find_model(settings, from_model).artifact)
    drop_abandoned(directory.parent)
    already_trained = directory.is_dir()
    rows = 0
    checkpoints = settings.home / "checkpoints" / settings.region
    if not already_trained:
        own = checkpoints / f"{version}-{_computed_with(settings)}"
        for other in checkpoints.glob("*"):
            if other != own:
                shutil.rmtree(other, ignore_errors=True)
        rows = train_artifact(
            settings, plan.cutoffs, directory, plan.data, progress, checkpoints=own, previous=previous
        )
    shutil.rmtree(checkpoints, ignore_errors=True)
    artifact = read_artifact(directory)
    known = [model for model in list_models(settings) if model.model_version == version]
    model = known[0] if known and already_trained else register_model(settings, artifact, trained_as_of)
    return TrainingResult(model, rows, already_trained, time.monotonic() - started)


def _computed_with(settings: Settings) -> str:
    """Return a name for what else decides about a training's bits: a checkpoint of another is no use."""
    versions = [importlib.metadata.version(name) for name in ("propensity", "mxnet", "numba", "numpy", "scipy")]
    return fingerprint(settings.threads, versions)[:8]


def training_is_due(settings: Settings, as_of: datetime) -> bool:
    """Return whether the model that would score `as_of` is missing, lost, of other labels or `retrain_after_days` old.

    Raises:
        ArtifactError: The artifact is damaged.

    Read-only.
    """
    try:
        model = model_for(settings, as_of)
    except UnknownModelError:
        return True
    if not model.artifact.is_dir() or not predicts_labels(settings, read_artifact(model.artifact)):
        return True
    # Local days: over a clock change 28 of them aren't 28 times 24 hours.
    trained, now = (instant.astimezone(settings.zone).date() for instant in (model.trained_as_of, as_of))
    return (now - trained).days >= settings.training.retrain_after_days


def train_artifact(
    settings: Settings,
    cutoffs: Cutoffs,
    directory: Path,
    data: str,
    progress: Progress = silent,
    *,
    checkpoints: Path | None = None,
    previous: Artifact | None = None,
) -> int:
    """Train on the cut-offs, write the artifact as the new `directory` and return the rows the kept net learned from.

    Nothing is registered: an artifact outside `home/models` is nobody's but the caller's.

    Args:
        cutoffs: What to learn from; their snapshots and labels were built.
        directory: Must not exist; its name is the model's version.
        data: What `data_fingerprint` says of the cut-offs.
        progress: Told of each epoch.
        checkpoints: See `fitting.fit`.
        previous: Whose weights the nets start from; None starts from new ones.

    Raises:
        MissingSnapshotError: A snapshot or labels are missing.
        TrainingError: There's too little to learn from.
        ArtifactError: The directory exists.

    Side effects: the new directory. Rows are kept in a directory in the lake meanwhile, so that they needn't fit into
    memory; what killed processes left there is removed.
    """
    models = None if previous is None else models_to_start_from(previous, cutoffs)
    if previous is not None:
        settings = warm_settings(settings)
    lake = Lake(settings.lake)
    lake.drop_abandoned()
    with lake.staged() as scratch:
        built = stored_training_set(settings, cutoffs.refit, scratch / "examples")
        examples = built.examples
        fitted = fit_net(
            settings,
            examples_at(examples, cutoffs.train),
            examples_at(examples, (cutoffs.validation,)),
            examples,
            dictionary=built.dictionary,
            categories=built.categories.names,
            progress=progress,
            scratch=scratch,
            checkpoints=checkpoints,
            previous=models,
        )
    facts = TrainingFacts(
        region=settings.region,
        model_version=directory.name,
        horizon_days=settings.labels.horizon_days,
        event_types=settings.labels.event_types,
        training_as_ofs=cutoffs.refit,
        training_window=(cutoffs.refit[0], cutoffs.trained_as_of),
        validation_as_of=cutoffs.validation,
        data_fingerprint=data,
        settings=settings.training.model_dump(mode="json"),
        previous_model=None if previous is None else previous.metadata.model_version,
    )
    # What the first net learned from: the gate fits its baselines on the same, and asks nothing later of it.
    first = facts.model_copy(
        update={
            "training_as_ofs": cutoffs.train,
            "training_window": (cutoffs.train[0], _learned_by(settings, cutoffs, previous)),
        }
    )
    write_artifact(
        directory,
        fitted.model,
        facts=facts,
        dictionary=built.dictionary,
        metrics={"validation": {"log_loss": fitted.validation_loss, "best_epoch": fitted.best_epoch}},
        history=fitted.history,
        exports=fitted.exports,
        validated=None if fitted.validated is None else (fitted.validated, first),
    )
    return len(examples)


def fit_net(
    settings: Settings,
    train: ExampleChunks,
    validation: ExampleChunks,
    refit: ExampleChunks,
    *,
    dictionary: FeatureDictionary,
    categories: Sequence[str],
    progress: Progress = silent,
    scratch: Path | None = None,
    checkpoints: Path | None = None,
    previous: tuple[Model, Model] | None = None,
) -> FittedModel:
    """Fit by `settings.training` on `settings.threads` threads; see `fitting.fit`, whose arguments these are.

    Raises:
        TrainingError: There's too little to learn from, or the loss is no longer finite.
    """
    # Here, not above: MXNet takes seconds to import, and asking whether training is due needn't.
    from propensity.training import mxnet_runtime, threads  # noqa: PLC0415
    from propensity.training.fitting import Losses, fit  # noqa: PLC0415

    mxnet_runtime.set_threads(settings.threads)
    threads.set_threads(settings.threads)

    def report(epoch: int, batch: int, n_batches: int, losses: Losses) -> None:
        number = f", net {losses.net + 1} of {settings.training.nets}" if settings.training.nets > 1 else ""
        progress(f"training, {losses.stage}{number}", (epoch - 1) * n_batches + batch, losses.epochs * n_batches)

    return fit(
        train,
        validation,
        refit,
        dictionary=dictionary,
        categories=categories,
        settings=settings.training,
        progress=report,
        n_classes=settings.labels.n_classes,
        scratch=scratch,
        checkpoints=checkpoints,
        previous=previous,
    )


def _learned_by(settings: Settings, cutoffs: Cutoffs, previous: Artifact | None) -> datetime:
    """Return when all labels were known that the first nets learned from, those of the model they started from too."""
    own = label_window_end(settings, cutoffs.train[-1])
    first = None if previous is None else ended_by(previous, cutoffs.validation)
    return own if first is None else max(own, first.metadata.training_window[1])


def examples_at(examples: Rows, as_ofs: Sequence[datetime]) -> Rows:
    """Return the rows of some of the as_ofs."""
    wanted = np.array([as_of.replace(tzinfo=None) for as_of in as_ofs], "datetime64[us]")
    return examples.at(np.isin(examples.as_of, wanted))


def warm_settings(settings: Settings) -> Settings:
    """Return the settings of a training that starts from a previous model."""
    options = settings.training
    warm = {"epochs": options.warm_epochs, "learning_rate": options.warm_learning_rate}
    return settings.model_copy(update={"training": options.model_copy(update=warm)})
