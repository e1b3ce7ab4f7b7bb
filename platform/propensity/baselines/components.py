"""A few dense columns that sum up the sparse features, by truncated SVD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.sparse.linalg import svds

from propensity.training.encoding import fit_encoder

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.features.dictionary import FeatureDictionary
    from propensity.models.encoding import Encoder
    from propensity.training.examples import Examples

MIN_FEATURE_ROWS: Final = 20
"""Training rows a feature needs to take part."""


@dataclass(frozen=True)
class Components:
    """Right singular vectors of the encoded training rows.

    Attributes:
        encoder: Fitted on the same rows.
        vectors: float32, (n_columns, n_components), strongest first; each one's largest entry is positive.
    """

    encoder: Encoder
    vectors: npt.NDArray[np.float32]

    @classmethod
    def fit(cls, examples: Examples, dictionary: FeatureDictionary, n: int, seed: int) -> Components:
        """Fit at most `n` components; fewer where the rows or columns are fewer."""
        names = [str(number) for number in range(examples.n_categories)]
        encoder = fit_encoder(examples, dictionary, names, MIN_FEATURE_ROWS)
        rows = encoder.transform(examples.features).deep
        n = min(n, min(rows.shape) - 1)
        if n < 1 or not rows.nnz:
            return cls(encoder, np.zeros((rows.shape[1], 0), np.float32))
        # Lanczos from a drawn start, so that the same seed gives the same vectors.
        start = np.random.default_rng(seed).normal(size=min(rows.shape)).astype(np.float32)
        _, _, right = svds(rows, k=n, v0=start, tol=1e-3)
        right = right[::-1]
        sign = np.sign(right[np.arange(n), np.abs(right).argmax(axis=1)])
        return cls(encoder, np.ascontiguousarray((right * sign[:, None]).T, dtype=np.float32))

    def of(self, examples: Examples) -> npt.NDArray[np.float32]:
        """Return the columns, float32, (n_examples, n_components)."""
        return np.asarray(self.encoder.transform(examples.features).deep @ self.vectors)
