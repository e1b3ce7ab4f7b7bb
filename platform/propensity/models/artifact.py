"""The artifact: a directory that holds one trained model, complete, in files a person can inspect.

```
metadata.json        ArtifactMetadata: what it predicts, for which categories, from what it learned
encoder.parquet      feature_index -> column, scale; category-aligned features -> category, signal
encoder.json         aligned signals with mean and deviation, categories in order
weights.safetensors  parameters by their path in the net
calibration.json     slope and intercept, for pairs with and without history
MODEL_CARD.md        the same for people
*.params             the training framework's own export
SHA256SUMS           of all of the above
```
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.numpy import save_file

from propensity.errors import ArtifactError
from propensity.models.calibration import Calibration
from propensity.models.card import model_card
from propensity.models.encoding import ENCODER_JSON, ENCODER_TABLE, Encoder
from propensity.models.forward import FORWARDS
from propensity.models.model import Model
from propensity.models.weights import map_weights

if TYPE_CHECKING:
    from propensity.features.dictionary import FeatureDictionary

SCHEMA_VERSION: Final = 1
METADATA, WEIGHTS, CALIBRATION, CARD = (
    "metadata.json",
    "weights.safetensors",
    "calibration.json",
    "MODEL_CARD.md",
)
SUMS: Final = "SHA256SUMS"
REQUIRED: Final = (METADATA, ENCODER_TABLE, ENCODER_JSON, WEIGHTS, CALIBRATION, CARD)
LIBRARIES: Final = ("mxnet", "numpy", "scipy", "pyarrow", "safetensors")


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


@dataclass(frozen=True)
class Artifact:
    """An artifact that was read and found whole.

    Attributes:
        directory: Where it lies.
        metadata: Its facts.
        model: For scoring; the weights are mapped from the file, not copied.
        sha256: Of SHA256SUMS, so of everything: the model's fingerprint.
    """

    directory: Path
    metadata: ArtifactMetadata
    model: Model
    sha256: str


def write_artifact(
    directory: Path,
    model: Model,
    *,
    facts: TrainingFacts,
    dictionary: FeatureDictionary,
    metrics: Mapping[str, Any],
    history: tuple[dict[str, Any], ...] = (),
    exports: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a model as the new directory `directory` and return it.

    The files are written beside it under a temporary name and appear by one rename: a reader sees a whole
    artifact or none.

    Args:
        directory: Must not exist; its parents are made.
        model: A fitted model.
        facts: What the caller knows about the training.
        dictionary: Names of the features, for `encoder.parquet`.
        metrics: JSON-able figures.
        history: Losses per epoch.
        exports: Further files by name, e.g. `FittedModel.exports`.

    Raises:
        ArtifactError: The directory exists.
    """
    if directory.exists():
        raise ArtifactError(f"{directory} exists; artifacts are never overwritten. Choose another model version.")
    metadata = _metadata(model, facts, metrics, history)
    directory.parent.mkdir(parents=True, exist_ok=True)
    building = directory.parent / f".{directory.name}.{uuid.uuid4().hex}"
    building.mkdir()
    try:
        model.encoder.write(building, dictionary)
        save_file({name: np.ascontiguousarray(value) for name, value in model.weights.items()}, building / WEIGHTS)
        _write_json(building / METADATA, metadata.model_dump(mode="json"))
        _write_json(building / CALIBRATION, model.calibration.to_json())
        (building / CARD).write_text(model_card(metadata.model_dump(mode="json")))
        for name, content in (exports or {}).items():
            (building / name).write_bytes(content)
        sums = {path.name: _sha256(path) for path in sorted(building.iterdir())}
        (building / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))
        for path in building.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        building.rename(directory)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return directory


def read_artifact(directory: Path) -> Artifact:
    """Read an artifact after checking its sums and its schema; read-only.

    Raises:
        ArtifactError: It's missing, damaged, foreign or newer than this version of the package.
    """
    if not (directory / METADATA).is_file() or not (directory / SUMS).is_file():
        raise ArtifactError(f"{directory} holds no model artifact. See: propensity models")
    _check_sums(directory)
    metadata = _read_metadata(directory)
    if metadata.network not in FORWARDS:
        known = ", ".join(sorted(FORWARDS))
        raise ArtifactError(f"{directory} has network {metadata.network!r}; known: {known}. Update this package.")
    encoder = Encoder.read(directory)
    try:
        calibration = Calibration.from_json(json.loads((directory / CALIBRATION).read_text()))
        weights = map_weights(directory / WEIGHTS)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{directory}: its weights or calibration can't be read ({error}). Train again.") from error
    if tuple(entry.category_index for entry in metadata.categories) != tuple(encoder.category_index.tolist()):
        raise ArtifactError(f"{directory}: metadata and encoder name different categories. Train again.")
    model = Model(
        network=metadata.network,
        n_classes=metadata.n_classes,
        encoder=encoder,
        weights=weights,
        calibration=calibration,
        popularity_default=np.array([entry.popularity_default for entry in metadata.categories], np.float32),
        unseen_category_prior=metadata.unseen_category_prior,
    )
    return Artifact(directory, metadata, model, _sha256(directory / SUMS))


def _metadata(
    model: Model, facts: TrainingFacts, metrics: Mapping[str, Any], history: tuple[dict[str, Any], ...]
) -> ArtifactMetadata:
    encoder = model.encoder
    return ArtifactMetadata(
        **facts.model_dump(),
        schema_version=SCHEMA_VERSION,
        network=model.network,
        n_classes=model.n_classes,
        categories=tuple(
            CategoryEntry(category_index=int(index), category=name, popularity_default=float(share))
            for index, name, share in zip(
                encoder.category_index, encoder.categories, model.popularity_default, strict=True
            )
        ),
        aligned_signals=encoder.aligned_signals,
        unseen_category_prior=model.unseen_category_prior,
        metrics=dict(metrics),
        history=history,
        libraries={name: importlib.metadata.version(name) for name in LIBRARIES},
    )


def _read_metadata(directory: Path) -> ArtifactMetadata:
    try:
        described = json.loads((directory / METADATA).read_text())
        version = described["schema_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{directory / METADATA} doesn't describe a model artifact. Train again.") from error
    if version != SCHEMA_VERSION:
        advice = "Update this package" if isinstance(version, int) and version > SCHEMA_VERSION else "Train again"
        raise ArtifactError(
            f"{directory} has artifact schema {version}; this version reads {SCHEMA_VERSION}. {advice}."
        )
    try:
        return ArtifactMetadata.model_validate(described)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(f"{directory / METADATA}: {field}: {first['msg']}. Train again.") from error


def _check_sums(directory: Path) -> None:
    try:
        lines = (directory / SUMS).read_text().splitlines()
        sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{directory / SUMS} is damaged. Restore the artifact or train again.") from error
    for name in sorted({*REQUIRED, *sums}):
        path = directory / name
        if name != Path(name).name or name not in sums or not path.is_file():
            raise ArtifactError(f"{directory}: {name} is missing. Restore the artifact or train again.")
        if _sha256(path) != sums[name]:
            raise ArtifactError(f"{path} is damaged: its SHA-256 differs. Restore the artifact or train again.")


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
