"""Batches: encoded examples, shuffled."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from propensity.training.encoded_examples import joined
from propensity.training.prefetch import prefetched
from propensity.training.sparse_linear import SparseRows

if TYPE_CHECKING:
    import numpy.typing as npt
    from scipy.sparse import csr_matrix

    from propensity.training.encoded_examples import EncodedExamples, EncodedSource

PREFETCHED: Final = 3
"""Batches gathered ahead."""


@dataclass(frozen=True)
class Batch:
    """B rows with P seen pairs.

    Attributes:
        deep: Encoded features, (B, n_columns).
        prior: Log-odds of popularity, float32, (n_as_of, N).
        as_of_position: Row's position in `prior`, int32, (B,).
        labels: Classes below K, csr_matrix without an entry twice, int8, (B, N); None when there are none.
        customer: float32, (B, n_customer_signals); None when there are none.
        cross: Cross signals, (B, N * n_cross_signals); None when the batch has no seen pair.
        pair_indptr: Row i's pairs are `pair_indptr[i]:pair_indptr[i + 1]`, int64, (B + 1,).
        pair_row: Pair's row in the batch, int32, (P,).
        pair_position: Pair's category, int32, (P,).
        pair_signals: float32, (P, n_signals); None when P or n_signals is 0.
        pair_prior: The row's `prior` of the pair's category, float32, (P, 1).
    """

    deep: SparseRows
    prior: npt.NDArray[np.float32]
    as_of_position: npt.NDArray[np.int32]
    labels: csr_matrix | None
    customer: npt.NDArray[np.float32] | None
    cross: SparseRows | None
    pair_indptr: npt.NDArray[np.int64]
    pair_row: npt.NDArray[np.int32]
    pair_position: npt.NDArray[np.int32]
    pair_signals: npt.NDArray[np.float32] | None
    pair_prior: npt.NDArray[np.float32]

    def __len__(self) -> int:
        """Return B."""
        return len(self.deep)


def gather(examples: EncodedExamples) -> Batch:
    """Make a batch of all rows given; its arrays are contiguous."""
    rows = examples.rows
    any_pair = len(rows.pair_position) > 0 and rows.pair_signals.shape[1] > 0
    return Batch(
        deep=SparseRows.of(rows.deep),
        prior=examples.prior,
        as_of_position=examples.as_of_position,
        labels=examples.labels,
        customer=rows.customer if rows.customer.shape[1] else None,
        cross=SparseRows.of(rows.cross) if any_pair else None,
        pair_indptr=rows.pair_indptr,
        pair_row=rows.pair_row,
        pair_position=rows.pair_position,
        pair_signals=rows.pair_signals if any_pair else None,
        pair_prior=examples.prior[examples.as_of_position[rows.pair_row], rows.pair_position][:, None],
    )


def batch_of(examples: EncodedExamples, rows: npt.NDArray[np.int64]) -> Batch:
    """Gather the rows named into one batch."""
    return gather(examples.take(rows))


class Batches:
    """One pass over the examples in a random order: `for batch in Batches(...)`.

    Each iteration draws a new order from `rng`; all but the last batch have `batch_size` rows. A thread gathers the
    next batches while this one is in use; the order doesn't depend on it.

    Args:
        examples: In memory or on disk.
        batch_size: Rows of a batch.
        rng: Drawn from at the start of each pass only.
        prefetch: Batches that wait at most; 0 makes each when it's asked for, without a thread.
    """

    def __init__(
        self, examples: EncodedSource, batch_size: int, rng: np.random.Generator, *, prefetch: int = PREFETCHED
    ) -> None:
        self._examples, self._batch_size, self._rng, self._prefetch = examples, batch_size, rng, prefetch

    def __len__(self) -> int:
        """Return the number of batches in a pass."""
        return (len(self._examples) + self._batch_size - 1) // self._batch_size

    def __iter__(self) -> Generator[Batch]:
        """Yield the batches of one pass; closing the generator before its end ends the thread."""
        gathered = self._gathered(self._examples.shuffled(self._rng))
        if self._prefetch == 0:
            yield from gathered
            return
        with prefetched(gathered, self._prefetch) as batches:
            yield from batches

    def _gathered(self, windows: Iterator[tuple[EncodedExamples, npt.NDArray[np.int64]]]) -> Iterator[Batch]:
        """Yield batches across windows: rows left over from one are the first of the next."""
        left: list[EncodedExamples] = []
        for window, order in windows:
            missing = self._batch_size - sum(map(len, left))
            cuts = range(missing if left else 0, len(order), self._batch_size)
            if left:
                left.append(window.take(order[:missing]))
                if len(order) >= missing:
                    yield gather(joined(left))
                    left = []
            for start in cuts:
                rows = window.take(order[start : start + self._batch_size])
                if len(rows) == self._batch_size:
                    yield gather(rows)
                else:
                    left = [rows]
            # Before the next one is read: both wouldn't fit.
            del window, order
        if left:
            yield gather(joined(left))
