"""Exporting a model: write the graph, load it, hold it against the scorer, and only then show it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

from propensity.errors import ExportError, did_you_mean
from propensity.exports.checking import compare
from propensity.exports.signature import SIGNATURE, Signature, output_tensors, read_signature
from propensity.models.artifact import read_artifact, sha256_of
from propensity.models.registry import find_model
from propensity.warehouse.staging import drop_abandoned, staged

if TYPE_CHECKING:
    from propensity.models.artifact import Artifact
    from propensity.settings import Settings

BUILDING: Final = ".propensity-export."
"""How the names of directories begin in which exports are written, beside those that they become."""


@dataclass(frozen=True)
class Export:
    """An export that was held against the scorer.

    Attributes:
        directory: Where it lies.
        signature: What `signature.json` says.
    """

    directory: Path
    signature: Signature


def export_model(
    settings: Settings, model_version: str | None = None, *, to: Path, file_format: str = "onnx"
) -> Export:
    """Write a model for other runtimes as the new directory `to`; see docs/exports.md.

    Args:
        model_version: By default the champion.
        to: Must not exist, or be empty.
        file_format: Key of FORMATS.

    Raises:
        ExportError: The format is unknown, the directory holds something, or the graph doesn't do what the scorer does.
        UnknownModelError: No such model.
        ArtifactError: The artifact is damaged.
        RuntimeMissingError: A package the format needs isn't installed.

    Side effects: the directory, which appears by one rename of a finished and checked one, or not at all; what killed
    exports left beside it is removed.
    """
    return write_export(read_artifact(find_model(settings, model_version).artifact), to, file_format)


def write_export(artifact: Artifact, directory: Path, file_format: str = "onnx") -> Export:
    """Write and check an artifact's export; see `export_model`."""
    module = _format(file_format)
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise ExportError(f"{directory} exists; exports are never overwritten. Choose another directory with --to.")
    drop_abandoned(directory.parent, BUILDING)
    with staged(directory.parent, BUILDING) as building:
        inputs = module.write(building, artifact)
        metadata = artifact.metadata
        signature = Signature(
            format=file_format,
            region=metadata.region,
            model_version=metadata.model_version,
            artifact_sha256=artifact.sha256,
            horizon_days=metadata.horizon_days,
            event_types=metadata.event_types,
            n_features=artifact.model.encoder.n_features,
            inputs=inputs,
            outputs=output_tensors(len(metadata.categories), metadata.n_classes),
            categories=metadata.categories,
            largest_difference=compare(artifact.model, module.load(building, artifact.model)),
            files=_sums(building),
        )
        signature.write(building)
        building.rename(directory)
    return Export(directory, signature)


def check_export(settings: Settings, directory: Path) -> Export:
    """Check that an export is whole and does what the scorer does with the model it was made from. Read-only.

    Raises:
        ExportError: It's missing, damaged, of another model than its name says, or differs from the scorer.
        UnknownModelError, ArtifactError: The model it was made from isn't there, or is damaged.
        RuntimeMissingError: A package the format needs isn't installed.
    """
    signature = read_signature(directory)
    module = _format(signature.format)
    named = f"{signature.model_version} --format {signature.format}"
    again = f"Export it again: propensity models export {named} --to DIRECTORY"
    for name, expected in signature.files.items():
        if name != Path(name).name or not (directory / name).is_file():
            raise ExportError(f"{directory}: {name} is missing. {again}")
        if sha256_of(directory / name) != expected:
            raise ExportError(f"{directory / name} is damaged: its SHA-256 differs. {again}")
    artifact = read_artifact(find_model(settings, signature.model_version).artifact)
    if artifact.sha256 != signature.artifact_sha256:
        raise ExportError(f"{directory} was made from another artifact than {artifact.directory}. {again}")
    try:
        compare(artifact.model, module.load(directory, artifact.model))
    except ExportError as error:
        raise ExportError(f"{error} {again}") from error
    return Export(directory, signature)


def _onnx() -> ModuleType:
    from propensity.exports import onnx_format  # noqa: PLC0415 - see FORMATS

    return onnx_format


def _mxnet() -> ModuleType:
    from propensity.exports import mxnet_format  # noqa: PLC0415 - see FORMATS

    return mxnet_format


FORMATS: Final[dict[str, Callable[[], ModuleType]]] = {"mxnet": _mxnet, "onnx": _onnx}
"""The module of each format: `write(directory, artifact)` returns the graph's inputs, `load(directory, model)` what
runs it. Imported when asked for: each needs a package that nothing else here needs."""


def _format(name: str) -> ModuleType:
    if name not in FORMATS:
        known = ", ".join(sorted(FORMATS))
        raise ExportError(f"No export format {name!r}.{did_you_mean(name, FORMATS)} Known: {known}")
    return FORMATS[name]()


def _sums(directory: Path) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in sorted(directory.iterdir()) if path.name != SIGNATURE}
