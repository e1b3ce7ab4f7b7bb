"""What goes into an exported graph and what comes out: `signature.json`, beside the graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from propensity.errors import ExportError
from propensity.models.metadata import CategoryEntry

SIGNATURE: Final = "signature.json"
SCHEMA_VERSION: Final = 1
POPULARITY: Final = "popularity"


class Tensor(BaseModel):
    """An input or an output.

    Attributes:
        name: As the graph names it.
        dtype: numpy's name.
        storage: `csr` where the graph takes a sparse matrix, else `dense`.
        shape: A number, or a word for a size that differs from call to call.
        meaning: For people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    dtype: Literal["int32", "int64", "float32"]
    storage: Literal["dense", "csr"] = "dense"
    shape: tuple[int | str, ...]
    meaning: str


class Signature(BaseModel):
    """`signature.json`.

    Attributes:
        schema_version: Of this file.
        format: Key of `service.FORMATS`.
        region: Market.
        model_version: The model's name, unique in its region.
        artifact_sha256: Of the artifact's SHA256SUMS: whose graph this is.
        horizon_days: Length of the label window in local days.
        event_types: Event types in the order of their classes 1..K-1.
        n_features: A `feature_index` from here on is unknown to the model and counts for nothing.
        inputs: In the graph's order.
        outputs: In the graph's order.
        categories: Outputs' columns in order, with the popularity to take where no newer one is known.
        largest_difference: From the scorer's propensities, over the rows of the check.
        files: SHA-256 of each other file by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    format: str
    region: str
    model_version: str
    artifact_sha256: str
    horizon_days: int
    event_types: tuple[str, ...]
    n_features: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    categories: tuple[CategoryEntry, ...]
    largest_difference: float
    files: dict[str, str]

    def write(self, directory: Path) -> None:
        """Write `signature.json` into `directory`."""
        (directory / SIGNATURE).write_text(json.dumps(self.model_dump(mode="json"), indent=1) + "\n")


def read_signature(directory: Path) -> Signature:
    """Read an export's `signature.json`. Read-only.

    Raises:
        ExportError: It's missing, damaged or of another version.
    """
    again = "Export again: propensity models export"
    try:
        return Signature.model_validate_json((directory / SIGNATURE).read_text())
    except FileNotFoundError as error:
        raise ExportError(f"{directory} holds no export: {SIGNATURE} is missing. {again}") from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise ExportError(f"{directory / SIGNATURE} is damaged or of another version. {again}") from error


def popularity_tensor(n_categories: int) -> Tensor:
    """Return the input that every graph has: the categories' popularity at the scoring as_of."""
    return Tensor(
        name=POPULARITY,
        dtype="float32",
        shape=(n_categories,),
        meaning="share of customers who bought in the last 30 days, in the order of `categories`",
    )


def output_tensors(n_categories: int, n_classes: int) -> tuple[Tensor, ...]:
    """Return the outputs of every graph: the scorer's `propensities` and, for K > 2, its `class_propensities`."""
    outputs = [
        Tensor(
            name="propensities",
            dtype="float32",
            shape=("rows", n_categories),
            meaning="calibrated probability of a class above 0, a column per category",
        )
    ]
    if n_classes > 2:
        outputs.append(
            Tensor(
                name="class_propensities",
                dtype="float32",
                shape=("rows", (n_classes - 2) * n_categories),
                meaning="probability of class k or a higher one: all categories for k = 2, then for k = 3, ...",
            )
        )
    return tuple(outputs)
