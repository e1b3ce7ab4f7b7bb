"""The value every model is fitted on and scored with: rows of (customer, as_of)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    from scipy.sparse import csr_matrix


class ExampleChunks(Protocol):
    """Examples that may be larger than memory: read chunk after chunk, in one fixed row order, as often as needed.

    `Examples` are one chunk; `stored_examples.StoredExamples` lie on disk.
    """

    @property
    def as_of(self) -> npt.NDArray[np.datetime64]:
        """As in `Examples`, of all chunks."""

    @property
    def popularity(self) -> npt.NDArray[np.float32]:
        """As in `Examples`, of all chunks."""

    @property
    def n_features(self) -> int:
        """Columns of each chunk's features."""

    @property
    def rows_per_as_of(self) -> npt.NDArray[np.int64]:
        """Rows of each as_of, (n_as_of,)."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def chunks(self) -> Iterator[Examples]:
        """Yield the rows; each chunk has the `as_of` and `popularity` of the whole."""


@dataclass(frozen=True)
class Examples:
    """Point-in-time-correct rows, features and labels, in one fixed row order.

    Attributes:
        customer_id: str, (n_examples,).
        as_of: The distinct instants in rising order, datetime64[us] in UTC, (n_as_of,).
        as_of_position: Row's position in `as_of`, int32, (n_examples,).
        features: csr_matrix, float32, (n_examples, n_features); column j is `feature_index` j. Raw units: counts,
            currency, days; zero is "not stored".
        labels: csr_matrix, int8, (n_examples, n_categories); the class 1..K-1 of column `category_index`, class 0 is
            not stored. None for a set to be scored.
        popularity: Share of the customers known at the as_of who bought the category in the 30 days before it,
            float32, (n_as_of, n_categories).
    """

    customer_id: npt.NDArray[np.object_]
    as_of: npt.NDArray[np.datetime64]
    as_of_position: npt.NDArray[np.int32]
    features: csr_matrix
    labels: csr_matrix | None
    popularity: npt.NDArray[np.float32]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.customer_id)

    @property
    def n_categories(self) -> int:
        """Columns of `labels` and `popularity`: one more than the largest `category_index` in the catalogue."""
        return int(self.popularity.shape[1])

    @property
    def n_features(self) -> int:
        """Columns of `features`."""
        return int(self.features.shape[1])

    @property
    def rows_per_as_of(self) -> npt.NDArray[np.int64]:
        """Rows of each as_of, (n_as_of,)."""
        return np.bincount(self.as_of_position, minlength=len(self.as_of))

    def chunks(self) -> Iterator[Examples]:
        """Yield all rows as one chunk."""
        yield self

    def at(self, keep: npt.NDArray[np.bool_]) -> Examples:
        """Return the examples of the as_ofs where `keep`, bool (n_as_of,), is set."""
        rows = keep[self.as_of_position]
        renumbered = (np.cumsum(keep) - 1).astype(np.int32)
        return Examples(
            customer_id=self.customer_id[rows],
            as_of=self.as_of[keep],
            as_of_position=renumbered[self.as_of_position[rows]],
            features=self.features[rows],
            labels=None if self.labels is None else self.labels[rows],
            popularity=self.popularity[keep],
        )
