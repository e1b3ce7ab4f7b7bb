"""Holding an export against the scorer: the same raw rows through both."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix

from propensity.columns import CLASS_PROPENSITIES, CUSTOMER_ID, EVENT_TIMESTAMP, INDICES, PROPENSITIES, VALUES
from propensity.errors import ExportError
from propensity.scoring.scorer import Scorer

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.models.encoding import Encoder
    from propensity.models.model import Model

Run = Callable[[csr_matrix, "npt.NDArray[np.float32]"], dict[str, "npt.NDArray[np.float32]"]]
"""A loaded export: raw rows and the categories' popularity, (n_categories,), to its outputs by name."""

TOLERANCE: Final = 1e-5
"""Largest difference from the scorer's propensities."""
ROWS: Final = 300
FEATURES: Final = 60
"""Of a row, on average."""


def compare(model: Model, run: Run, seed: int = 20_171_101) -> float:
    """Return the largest difference of an export from the scorer, over made-up rows of the encoder's shape.

    Raises:
        ExportError: It's above TOLERANCE, or an output has another name or shape, or isn't finite.
    """
    rng = np.random.default_rng(seed)
    rows = made_up_rows(model.encoder, rng)
    popularity = rng.beta(1.0, 12.0, len(model.encoder.categories)).astype(np.float32)
    largest = 0.0
    # All of them, two rows without any feature, and one row alone.
    for some in (rows, rows[:0], csr_matrix((2, rows.shape[1]), dtype=np.float32), rows[-1:]):
        expected, found = _scored(model, some, popularity), run(some, popularity)
        if {name: array.shape for name, array in found.items()} != {
            name: array.shape for name, array in expected.items()
        }:
            raise ExportError(f"The export answers with {_shapes(found)}, the scorer with {_shapes(expected)}.")
        for name, array in expected.items():
            difference = float(np.abs(array - found[name]).max(initial=0.0))
            if not difference <= TOLERANCE:  # NaN isn't
                raise ExportError(
                    f"The export's {name} differ from the scorer's by up to {difference:.2g}, more than {TOLERANCE:g}."
                )
            largest = max(largest, difference)
    return largest


def made_up_rows(encoder: Encoder, rng: np.random.Generator) -> csr_matrix:
    """Draw raw rows, float32, (ROWS, n_features + 1), with values of the size that each feature has.

    Some rows have no feature, and some have one that the encoder doesn't know.
    """
    used = np.flatnonzero(
        (encoder.feature_column >= 0) | (encoder.feature_signal >= 0) | (encoder.feature_customer >= 0)
    )
    known = np.append(used, encoder.n_features)
    counts = np.minimum(rng.geometric(1.0 / FEATURES, ROWS) - 1, len(known))
    counts[:2] = 0
    chosen = [np.sort(rng.choice(known, count, replace=False)) for count in counts]
    indices = np.concatenate(chosen).astype(np.int32)
    squashed = _typical(encoder)[indices] * rng.normal(1.0, 0.7, len(indices))
    values = np.copysign(np.expm1(np.abs(squashed)), squashed).astype(np.float32)
    offsets = np.concatenate(([0], np.cumsum(counts)))
    return csr_matrix((values, indices, offsets), shape=(ROWS, encoder.n_features + 1))


def _typical(encoder: Encoder) -> npt.NDArray[np.float64]:
    """Return the size of each feature's values after `models.encoding.squash`, and of one unknown feature's."""
    typical = np.ones(encoder.n_features + 1)
    for place, sizes in (
        (encoder.feature_column, encoder.column_scale),
        (encoder.feature_signal, np.abs(encoder.signal_mean) + encoder.signal_std),
        (encoder.feature_customer, np.abs(encoder.customer_mean) + encoder.customer_std),
    ):
        has = np.flatnonzero(place >= 0)
        typical[has] = sizes[place[has]]
    return np.minimum(typical, 12.0)  # a value of e^12 and its double are still far from float32's end


def _scored(model: Model, rows: csr_matrix, popularity: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
    offsets = rows.indptr.astype(np.int32)
    batch = pa.RecordBatch.from_pydict(
        {
            CUSTOMER_ID: pa.array([str(number) for number in range(rows.shape[0])], pa.string()),
            EVENT_TIMESTAMP: pa.array([0] * rows.shape[0], pa.timestamp("us", "UTC")),
            INDICES: pa.ListArray.from_arrays(offsets, pa.array(rows.indices, pa.int32())),
            VALUES: pa.ListArray.from_arrays(offsets, pa.array(rows.data, pa.float32())),
        }
    )
    by_index = dict(zip(model.encoder.category_index.tolist(), popularity.tolist(), strict=True))
    scored = Scorer(model, by_index, top_k=1).score(batch)
    widths = {PROPENSITIES: len(popularity), CLASS_PROPENSITIES: (model.n_classes - 2) * len(popularity)}
    return {
        name: scored.column(name).flatten().to_numpy().reshape(rows.shape[0], width)
        for name, width in widths.items()
        if name in scored.schema.names
    }


def _shapes(arrays: dict[str, npt.NDArray[np.float32]]) -> str:
    return ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "nothing"
