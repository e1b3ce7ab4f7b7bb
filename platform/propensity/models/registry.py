"""Model versions in the catalogue: which there are, and which one scores."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select, update

from propensity.errors import UnknownModelError, did_you_mean
from propensity.warehouse.catalogue import ModelCategory, ModelVersion
from propensity.warehouse.catalogue_session import catalogue_session

if TYPE_CHECKING:
    from propensity.models.artifact import Artifact
    from propensity.settings import Settings


@dataclass(frozen=True)
class RegisteredModel:
    """A model version as the catalogue knows it.

    Attributes:
        model_version: Unique in its region.
        state: champion (scores by default), retired or refused (never scores by default).
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
        if model.model_version == model_version or (model_version is None and model.state == "champion"):
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
    """Return the model that may score `as_of`: the champion, else the newest, of those not trained after it.

    A model trained later has seen labels from behind the as_of. Read-only.

    Raises:
        UnknownModelError: None was trained by then.
    """
    fit = [model for model in list_models(settings) if model.trained_as_of <= as_of and model.state != "refused"]
    if not fit:
        raise UnknownModelError(
            f"No model of region {settings.region!r} was trained by {as_of.isoformat()}. "
            f"Train one: propensity train --as-of {as_of.astimezone(settings.zone).date()}"
        )
    return max(fit, key=lambda model: (model.state == "champion", model.trained_as_of, model.created_timestamp))


def register_model(settings: Settings, artifact: Artifact, trained_as_of: datetime) -> RegisteredModel:
    """Record an artifact and make it the champion unless the champion was trained as of a later instant.

    Side effects: one transaction on the catalogue; safe to repeat.
    """
    metadata = artifact.metadata
    with catalogue_session(settings) as session:
        mine = ModelVersion.region == settings.region
        newest = max(
            (
                row.trained_as_of.astimezone(UTC)
                for row in session.scalars(select(ModelVersion).where(mine, ModelVersion.state == "champion"))
            ),
            default=trained_as_of,
        )
        champion = newest <= trained_as_of
        if champion:
            session.execute(update(ModelVersion).where(mine).values(state="retired"))
        row = session.merge(
            ModelVersion(
                region=settings.region,
                model_version=metadata.model_version,
                state="champion" if champion else "retired",
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
