"""The artifact: a directory that holds one trained model, complete, in files a person can inspect.

```
metadata.json        ArtifactMetadata: what it predicts, for which categories, from what it learned
encoder.parquet      feature_index -> column, scale; category-aligned features -> category, signal
encoder.json         aligned signals with mean and deviation, categories in order
weights.safetensors  parameters by the number of their net and their path in it: `0.deep.input_weight`
calibration.json     slope and intercept, for pairs with and without history
MODEL_CARD.md        the same for people
*.params             the training framework's own export
validated/           the same files of the net before the refit, which the gate judges on the validation window
SHA256SUMS           of all of the above; of `validated/` the sum of its own SHA256SUMS
```

The two nets differ in what they have seen: figures of the kept one on the validation window would be flattered.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydantic import ValidationError
from safetensors.numpy import save_file

from propensity.errors import ArtifactError
from propensity.models.calibration import Calibration
from propensity.models.card import model_card
from propensity.models.encoding import ENCODER_JSON, ENCODER_TABLE, Encoder
from propensity.models.forward import FORWARDS
from propensity.models.metadata import ArtifactMetadata, CategoryEntry, TrainingFacts
from propensity.models.model import Model
from propensity.models.weights import map_weights

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.features.dictionary import FeatureDictionary

__all__ = ["Artifact", "ArtifactMetadata", "TrainingFacts", "drop_abandoned", "read_artifact", "write_artifact"]

SCHEMA_VERSION: Final = 2
METADATA, WEIGHTS, CALIBRATION, CARD = (
    "metadata.json",
    "weights.safetensors",
    "calibration.json",
    "MODEL_CARD.md",
)
SUMS: Final = "SHA256SUMS"
VALIDATED: Final = "validated"
VALIDATED_SUMS: Final = f"{VALIDATED}/{SUMS}"
ABANDONED: Final = re.compile(r"\..+\.[0-9a-f]{32}")
"""Name of a directory in which an artifact is being written."""
REQUIRED: Final = (METADATA, ENCODER_TABLE, ENCODER_JSON, WEIGHTS, CALIBRATION, CARD)
LIBRARIES: Final = ("mxnet", "numpy", "scipy", "pyarrow", "safetensors")


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

    @cached_property
    def validated_artifact(self) -> Artifact | None:
        """The net before the refit with its own metadata, read when first asked for; None where there was no refit.

        Raises:
            ArtifactError: It's damaged.
        """
        directory = self.directory / VALIDATED
        return read_artifact(directory) if directory.is_dir() else None

    @property
    def validated(self) -> Model | None:
        """The net before the refit: the one whose figures on the validation window are honest."""
        return None if self.validated_artifact is None else self.validated_artifact.model


def write_artifact(
    directory: Path,
    model: Model,
    *,
    facts: TrainingFacts,
    dictionary: FeatureDictionary,
    metrics: Mapping[str, Any],
    history: tuple[dict[str, Any], ...] = (),
    exports: Mapping[str, bytes] | None = None,
    validated: tuple[Model, TrainingFacts] | None = None,
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
        validated: The net before the refit and what it was trained on.

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
        save_file(
            {
                f"{number}.{name}": np.ascontiguousarray(value)
                for number, weights in enumerate(model.nets)
                for name, value in weights.items()
            },
            building / WEIGHTS,
        )
        _write_json(building / METADATA, metadata.model_dump(mode="json"))
        _write_json(building / CALIBRATION, model.calibration.to_json())
        (building / CARD).write_text(model_card(metadata.model_dump(mode="json")))
        for name, content in (exports or {}).items():
            (building / name).write_bytes(content)
        sums = {path.name: sha256_of(path) for path in sorted(building.iterdir())}
        if validated is not None:
            write_artifact(
                building / VALIDATED, validated[0], facts=validated[1], dictionary=dictionary, metrics=metrics
            )
            sums[VALIDATED_SUMS] = sha256_of(building / VALIDATED_SUMS)
        (building / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))
        for path in building.iterdir():
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        building.rename(directory)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return directory


def drop_abandoned(directory: Path) -> int:
    """Remove what trainings that were killed left beside the artifacts in `directory`; return how many there were.

    Side effects: deletes directories. For who trains alone, under the region's lock.
    """
    abandoned = [path for path in directory.glob(".*") if ABANDONED.fullmatch(path.name) and path.is_dir()]
    for path in abandoned:
        shutil.rmtree(path, ignore_errors=True)
    return len(abandoned)


def read_artifact(directory: Path) -> Artifact:
    """Read an artifact after checking its sums and its schema; read-only.

    Raises:
        ArtifactError: It's missing, damaged, foreign or newer than this version of the package.
    """
    if not (directory / METADATA).is_file() or not (directory / SUMS).is_file():
        if directory.is_dir():
            raise ArtifactError(
                f"{directory} holds no model artifact: {METADATA} or {SUMS} is missing. {_mend(directory)}"
            )
        raise ArtifactError(
            f"{directory} holds no model artifact: the directory is lost. Restore it, or make it again: "
            "propensity run --as-of DATE"
        )
    _check_sums(directory)
    metadata = _read_metadata(directory)
    if metadata.network not in FORWARDS:
        known = ", ".join(sorted(FORWARDS))
        raise ArtifactError(f"{directory} has network {metadata.network!r}; known: {known}. Update this package.")
    encoder = Encoder.read(directory)
    try:
        calibration = Calibration.from_json(json.loads((directory / CALIBRATION).read_text()))
        nets = _nets(map_weights(directory / WEIGHTS))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{directory}: its weights or calibration can't be read ({error}). {_mend(directory)}"
        ) from error
    if tuple(entry.category_index for entry in metadata.categories) != tuple(encoder.category_index.tolist()):
        raise ArtifactError(f"{directory}: metadata and encoder name different categories. {_mend(directory)}")
    model = Model(
        network=metadata.network,
        n_classes=metadata.n_classes,
        encoder=encoder,
        nets=nets,
        calibration=calibration,
        popularity_default=np.array([entry.popularity_default for entry in metadata.categories], np.float32),
        unseen_category_prior=metadata.unseen_category_prior,
    )
    return Artifact(directory, metadata, model, sha256_of(directory / SUMS))


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
        raise ArtifactError(f"{directory / METADATA} doesn't describe a model artifact. {_mend(directory)}") from error
    if version != SCHEMA_VERSION:
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        advice = "Update this package." if newer else _mend(directory)
        raise ArtifactError(f"{directory} has artifact schema {version}; this version reads {SCHEMA_VERSION}. {advice}")
    try:
        return ArtifactMetadata.model_validate(described)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(f"{directory / METADATA}: {field}: {first['msg']}. {_mend(directory)}") from error


def _nets(weights: dict[str, npt.NDArray[np.float32]]) -> tuple[dict[str, npt.NDArray[np.float32]], ...]:
    by_net: dict[int, dict[str, npt.NDArray[np.float32]]] = {}
    for name, value in weights.items():
        number, path = name.split(".", 1)
        by_net.setdefault(int(number), {})[path] = value
    return tuple(by_net[number] for number in range(len(by_net)))


def _check_sums(directory: Path) -> None:
    try:
        lines = (directory / SUMS).read_text().splitlines()
        sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{directory / SUMS} is damaged. {_mend(directory)}") from error
    for name in sorted({*REQUIRED, *sums}):
        path = directory / name
        outside = name not in (Path(name).name, VALIDATED_SUMS)
        if outside or name not in sums or not path.is_file():
            raise ArtifactError(f"{directory}: {name} is missing. {_mend(directory)}")
        if sha256_of(path) != sums[name]:
            raise ArtifactError(f"{path} is damaged: its SHA-256 differs. {_mend(directory)}")
    if (directory / VALIDATED).exists() and VALIDATED_SUMS not in sums:
        raise ArtifactError(f"{directory}: {VALIDATED} isn't among the sums. {_mend(directory)}")


def _mend(directory: Path) -> str:
    whole = directory.parent if directory.name == VALIDATED else directory
    return f"Restore the artifact, or remove {whole} and train again: propensity run --as-of DATE"


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
