"""What an artifact's `metadata.json` says: what the model predicts, for which categories, from what it learned."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict


class TrainingFacts(BaseModel):
    """What the caller of a training knows about it.

    Attributes:
        region: Market.
        model_version: Name of this model, unique in its region.
        horizon_days: Length of the label window in local days.
        event_types: Event types in the order of their classes 1..K-1.
        training_as_ofs: As_ofs of the rows the kept net was trained on, rising.
        training_window: First training as_of, and the instant by which all label windows had ended.
        validation_as_of: As_of of early stopping and calibration.
        data_fingerprint: Of features and labels trained on.
        settings: Hyper-parameters.
        previous_model: Version of the model whose weights the nets started from; None if they were new.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    region: str
    model_version: str
    horizon_days: int
    event_types: tuple[str, ...]
    training_as_ofs: tuple[datetime, ...]
    training_window: tuple[datetime, datetime]
    validation_as_of: datetime
    data_fingerprint: str
    settings: dict[str, Any]
    previous_model: str | None = None


class CategoryEntry(BaseModel):
    """One output of the model; its place in the list is its place in `propensities`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    category_index: int
    category: str
    popularity_default: float


class ArtifactMetadata(TrainingFacts):
    """`metadata.json`.

    Attributes:
        schema_version: Of the artifact's layout.
        network: Key of NETWORKS.
        n_classes: K.
        categories: Outputs in order.
        aligned_signals: Category-aligned signals in order.
        unseen_category_prior: Propensity of a category that isn't among the outputs.
        metrics: Whatever the evaluation said.
        history: Losses per epoch.
        libraries: Versions the model was trained with.
    """

    schema_version: int
    network: str
    n_classes: int
    categories: tuple[CategoryEntry, ...]
    aligned_signals: tuple[str, ...]
    unseen_category_prior: float
    metrics: dict[str, Any]
    history: tuple[dict[str, Any], ...]
    libraries: dict[str, str]
