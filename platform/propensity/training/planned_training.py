"""What a training would learn from, and the version that its model would have, before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from propensity.features.labels import find_labels
from propensity.features.snapshots import find_snapshot
from propensity.models.registry import find_model
from propensity.training.cutoffs import Cutoffs, training_cutoffs
from propensity.warehouse.runs import fingerprint

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from propensity.settings import Settings


@dataclass(frozen=True)
class PlannedTraining:
    """A training that may have been done before.

    Attributes:
        cutoffs: What it learns from.
        data: What `data_fingerprint` says of them.
        directory: Of the artifact, there if the same was trained before; its name is the model's version.
    """

    cutoffs: Cutoffs
    data: str
    directory: Path


def plan_training(settings: Settings, trained_as_of: datetime, from_model: str | None = None) -> PlannedTraining:
    """Plan the training as of an instant on what was built; arguments as for `service.train`. Read-only.

    Raises:
        UnknownModelError: There is no model `from_model`.
        MissingSnapshotError: A snapshot or labels are missing.
        TrainingError: History is too short.
    """
    cutoffs = training_cutoffs(settings, trained_as_of)
    if from_model is not None:
        find_model(settings, from_model)
    data = data_fingerprint(settings, cutoffs)
    version = version_of(settings, cutoffs, data, from_model)
    return PlannedTraining(cutoffs, data, settings.models / settings.region / version)


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


def version_of(settings: Settings, cutoffs: Cutoffs, data: str, from_model: str | None = None) -> str:
    """Return the version of the model that these cut-offs' data (see `data_fingerprint`) and the settings give.

    One that starts from another model's weights is another model.
    """
    day = cutoffs.trained_as_of.astimezone(settings.zone)
    started_from = () if from_model is None else (from_model,)
    return f"{day:%Y%m%d}-{fingerprint(data, settings.training.model_dump(), *started_from)[:8]}"
