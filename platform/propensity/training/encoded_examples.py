"""Training rows after the encoder, still numpy: what batches are drawn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from scipy.sparse import vstack

from propensity.models.encoded_rows import EncodedRows

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.models.encoding import Encoder
    from propensity.training.examples import Examples


class EncodedSource(Protocol):
    """Encoded examples, in memory or, as `encoded_files.EncodedFiles`, on disk."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def shuffled(self, rng: np.random.Generator) -> Iterator[tuple[EncodedExamples, npt.NDArray[np.int64]]]:
        """Return an iterator over windows of rows and the order to take each window's rows in; every row once.

        All that is drawn from `rng` is drawn at once; the iterator may then be used by another thread.
        """

    def in_order(self) -> Iterator[EncodedExamples]:
        """Yield all rows in their own order."""


@dataclass(frozen=True)
class EncodedExamples:
    """Examples after the encoder.

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

    def take(self, rows: npt.NDArray[np.int64]) -> EncodedExamples:
        """Return a copy of the rows named, in that order; `prior` is the same."""
        return EncodedExamples(
            rows=self.rows.take(rows),
            prior=self.prior,
            as_of_position=self.as_of_position[rows],
            labels=None if self.labels is None else self.labels[rows],
        )

    def shuffled(self, rng: np.random.Generator) -> Iterator[tuple[EncodedExamples, npt.NDArray[np.int64]]]:
        """Return itself as the one window, in a random order."""
        return iter([(self, rng.permutation(len(self)))])

    def in_order(self) -> Iterator[EncodedExamples]:
        """Yield itself."""
        yield self


def encode(encoder: Encoder, examples: Examples) -> EncodedExamples:
    """Encode examples; labels of categories the model doesn't know are dropped."""
    return EncodedExamples(
        rows=encoder.transform(examples.features),
        prior=encoder.prior(examples.popularity),
        as_of_position=examples.as_of_position,
        labels=None if examples.labels is None else encoder.labels(examples.labels),
    )


def joined(parts: Sequence[EncodedExamples]) -> EncodedExamples:
    """Put parts of the same examples, which have one `prior`, one behind the other."""
    if len(parts) == 1:
        return parts[0]
    rows = [part.rows for part in parts]
    counts = np.concatenate([np.diff(part.pair_indptr) for part in rows])
    return EncodedExamples(
        rows=EncodedRows(
            deep=vstack([part.deep for part in rows], format="csr"),
            customer=np.concatenate([part.customer for part in rows]),
            cross=vstack([part.cross for part in rows], format="csr"),
            pair_indptr=np.concatenate(([0], np.cumsum(counts))),
            pair_position=np.concatenate([part.pair_position for part in rows]),
            pair_signals=np.concatenate([part.pair_signals for part in rows]),
        ),
        prior=parts[0].prior,
        as_of_position=np.concatenate([part.as_of_position for part in parts]),
        labels=None if parts[0].labels is None else vstack([part.labels for part in parts], format="csr"),
    )
