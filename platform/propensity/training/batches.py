"""Batches: encoded examples, shuffled, as MXNet arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from propensity.training.mxnet_runtime import mx
from propensity.training.sparse_linear import SparseRows

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.models.encoded_rows import EncodedRows
    from propensity.models.encoding import Encoder
    from propensity.training.examples import Examples

nd = mx.nd


@dataclass(frozen=True)
class EncodedExamples:
    """Examples after the encoder, still numpy.

    Attributes:
        rows: Encoded features.
        prior: Log-odds of popularity, float32, (n_as_of, N).
        as_of_position: Row's position in `prior`, int32, (n_rows,).
        labels: csr_matrix, int8, (n_rows, N); columns are positions in the model's output. None when there
            are none.
    """

    rows: EncodedRows
    prior: npt.NDArray[np.float32]
    as_of_position: npt.NDArray[np.int32]
    labels: Any

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)


@dataclass(frozen=True)
class Batch:
    """B rows with P seen pairs, as MXNet arrays where they are dense.

    Attributes:
        deep: Encoded features, (B, n_columns).
        prior: float32, (B, N).
        labels: Classes, float32, (B, N); None when there are none.
        customer: float32, (B, n_customer_signals); None when there are none.
        cross: Cross signals, (B, N * n_cross_signals); None when the batch has no seen pair.
        pair_row: Pair's row in the batch, int32, (P,).
        pair_position: Pair's category, int32, (P,).
        pair_signals: float32, (P, n_signals); None when P is 0, since MXNet has no empty arrays.
        pair_prior: The row's `prior` of the pair's category, float32, (P, 1).
    """

    deep: SparseRows
    prior: Any
    labels: Any
    customer: Any
    cross: SparseRows | None
    pair_row: Any
    pair_position: Any
    pair_signals: Any
    pair_prior: Any


def encode(encoder: Encoder, examples: Examples) -> EncodedExamples:
    """Encode examples; labels of categories the model doesn't know are dropped."""
    return EncodedExamples(
        rows=encoder.transform(examples.features),
        prior=encoder.prior(examples.popularity),
        as_of_position=examples.as_of_position,
        labels=None if examples.labels is None else encoder.labels(examples.labels),
    )


def batch_of(examples: EncodedExamples, rows: npt.NDArray[np.int64]) -> Batch:
    """Gather the rows named into one batch."""
    picked = examples.rows.take(rows)
    prior = examples.prior[examples.as_of_position[rows]]
    any_pair = len(picked.pair_position) > 0 and picked.pair_signals.shape[1] > 0
    return Batch(
        deep=SparseRows.of(picked.deep),
        prior=nd.array(prior),
        labels=None if examples.labels is None else nd.array(examples.labels[rows].toarray().astype(np.float32)),
        customer=nd.array(picked.customer) if picked.customer.shape[1] else None,
        cross=SparseRows.of(picked.cross) if any_pair else None,
        pair_row=nd.array(picked.pair_row, dtype=np.int32) if any_pair else None,
        pair_position=nd.array(picked.pair_position, dtype=np.int32) if any_pair else None,
        pair_signals=nd.array(picked.pair_signals) if any_pair else None,
        pair_prior=nd.array(prior[picked.pair_row, picked.pair_position][:, None]) if any_pair else None,
    )


class Batches:
    """One pass over the examples in a random order: `for batch in Batches(...)`.

    Each iteration draws a new order from `rng`; all but the last batch have `batch_size` rows.
    """

    def __init__(self, examples: EncodedExamples, batch_size: int, rng: np.random.Generator) -> None:
        self._examples, self._batch_size, self._rng = examples, batch_size, rng

    def __len__(self) -> int:
        """Return the number of batches in a pass."""
        return (len(self._examples) + self._batch_size - 1) // self._batch_size

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of one pass."""
        order = self._rng.permutation(len(self._examples))
        for start in range(0, len(order), self._batch_size):
            yield batch_of(self._examples, order[start : start + self._batch_size])
