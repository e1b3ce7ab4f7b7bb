"""Model versions in the catalogue: which there are, and which one scores."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, select

from propensity.errors import UnknownModelError, did_you_mean
from propensity.warehouse.catalogue import ModelCategory, ModelVersion
from propensity.warehouse.catalogue_session import catalogue_session

if TYPE_CHECKING:
    from propensity.models.artifact import Artifact
    from propensity.settings import Settings


CHALLENGER: Final = "challenger"
"""Trained and registered, not yet judged."""
CHAMPION: Final = "champion"
"""Scores by default; a region has one at most."""
RETIRED: Final = "retired"
"""Fit to score what lies before the champion's training: it was champion, or passed the gate beside a newer one."""
REFUSED: Final = "refused"
"""Scores only when named."""


@dataclass(frozen=True)
class RegisteredModel:
    """A model version as the catalogue knows it.

    Attributes:
        model_version: Unique in its region.
        state: CHALLENGER, CHAMPION, RETIRED or REFUSED.
        trained_as_of: Instant it was trained as of; no label window behind it ended later.
        artifact: Directory of the artifact.
        metrics: What the evaluations said, by name.
        created_timestamp: When it was registered, UTC.
    """

    model_version: str
    state: str
    trained_as_of: datetime
    artifact: Path
    metrics: dict[str, Any] = field(repr=False)
    created_timestamp: datetime


def list_models(settings: Settings) -> list[RegisteredModel]:
    """Return the region's models in the order of their training as_of. Read-only."""
    query = (
        select(ModelVersion)
        .where(ModelVersion.region == settings.region)
        .order_by(ModelVersion.trained_as_of, ModelVersion.created_timestamp)
    )
    with catalogue_session(settings) as session:
        return [_registered(settings, row) for row in session.scalars(query)]


def find_model(settings: Settings, model_version: str | None = None) -> RegisteredModel:
    """Return a model version, by default the champion. Read-only.

    Raises:
        UnknownModelError: There is none of that name, or no champion.
    """
    models = list_models(settings)
    for model in reversed(models):
        if model.model_version == model_version or (model_version is None and model.state == CHAMPION):
            return model
    if model_version is None:
        raise UnknownModelError(
            f"Region {settings.region!r} has no champion model. Train one: propensity train --as-of DATE"
        )
    raise UnknownModelError(
        f"Unknown model {model_version!r}.{did_you_mean(model_version, [model.model_version for model in models])} "
        "See: propensity models"
    )


def model_for(settings: Settings, as_of: datetime) -> RegisteredModel:
    """Return the model that may score `as_of`: the champion, else the newest retired one, not trained after it.

    A model trained later has seen labels from behind the as_of. Challengers, which nobody has judged, and refused
    models never score by default. Read-only.

    Raises:
        UnknownModelError: There is none.
    """
    trained = [model for model in list_models(settings) if model.trained_as_of <= as_of]
    fit = [model for model in trained if model.state in (CHAMPION, RETIRED)]
    if fit:
        return max(fit, key=lambda model: (model.state == CHAMPION, model.trained_as_of, model.created_timestamp))
    day = as_of.astimezone(settings.zone).date()
    if not trained:
        raise UnknownModelError(
            f"No model of region {settings.region!r} was trained by {as_of.isoformat()}. "
            f"Train one: propensity train --as-of {day}"
        )
    newest = trained[-1]
    if newest.state == CHALLENGER:
        raise UnknownModelError(
            f"Model {newest.model_version!r} of region {settings.region!r} has not been judged yet, and no other was "
            f"trained by {as_of.isoformat()}. Judge it: propensity run --as-of {day}"
        )
    version = newest.model_version
    raise UnknownModelError(
        f"Region {settings.region!r} has no champion by {as_of.isoformat()}: model {version!r} was refused. Why: "
        f"propensity models show {version}. All the same: propensity models promote {version} --force --reason TEXT"
    )


def predicts_labels(settings: Settings, artifact: Artifact) -> bool:
    """Return whether the model predicts the labels that the settings name: the same events within the same days."""
    labels, metadata = settings.labels, artifact.metadata
    return (metadata.horizon_days, metadata.event_types) == (labels.horizon_days, labels.event_types)


def register_model(settings: Settings, artifact: Artifact, trained_as_of: datetime) -> RegisteredModel:
    """Record an artifact as a challenger; one that was registered before keeps its state.

    Side effects: one transaction on the catalogue; safe to repeat.
    """
    metadata = artifact.metadata
    with catalogue_session(settings) as session:
        known = session.get(ModelVersion, (settings.region, metadata.model_version))
        row = session.merge(
            ModelVersion(
                region=settings.region,
                model_version=metadata.model_version,
                state=CHALLENGER if known is None else known.state,
                trained_as_of=trained_as_of,
                artifact=str(artifact.directory.relative_to(settings.home)),
                metrics=json.dumps(metadata.metrics),
                created_timestamp=datetime.now(UTC),
            )
        )
        session.flush()
        session.execute(
            delete(ModelCategory).where(
                ModelCategory.region == settings.region, ModelCategory.model_version == metadata.model_version
            )
        )
        session.flush()
        session.add_all(
            ModelCategory(
                region=settings.region,
                model_version=metadata.model_version,
                position=position,
                category_index=entry.category_index,
            )
            for position, entry in enumerate(metadata.categories)
        )
        return _registered(settings, row)


def add_metrics(settings: Settings, model_version: str, name: str, metrics: dict[str, Any]) -> None:
    """Store an evaluation's figures under `name`; replaces those of the same name.

    Raises:
        UnknownModelError: There is no such model.
    """
    with catalogue_session(settings) as session:
        row = session.get(ModelVersion, (settings.region, model_version))
        if row is None:
            raise UnknownModelError(f"Unknown model {model_version!r}. See: propensity models")
        row.metrics = json.dumps(json.loads(row.metrics) | {name: metrics})


def _registered(settings: Settings, row: ModelVersion) -> RegisteredModel:
    return RegisteredModel(
        row.model_version,
        row.state,
        row.trained_as_of.astimezone(UTC),
        settings.home / row.artifact,
        json.loads(row.metrics),
        row.created_timestamp.astimezone(UTC),
    )
