"""The pairs (customer, category) that a metric is computed on, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from propensity.errors import InputError

if TYPE_CHECKING:
    import numpy.typing as npt

MIN_POSITIVES: Final = 20
"""Positives a category needs to count in a macro average; below that its figure is noise."""


@dataclass(frozen=True)
class Pairs:
    """Labels and probabilities of the same pairs, and which of them count.

    Attributes:
        positive: Whether the label's class is above 0, bool, (n_customers, n_categories).
        probability: Probability that it is, in [0, 1], floating, (n_customers, n_categories).
        mask: The pairs that count, bool, (n_customers, n_categories); None counts all.
    """

    positive: npt.NDArray[np.bool_]
    probability: npt.NDArray[np.floating[Any]]
    mask: npt.NDArray[np.bool_] | None

    @classmethod
    def of(cls, labels: npt.ArrayLike, probabilities: npt.ArrayLike, mask: npt.ArrayLike | None = None) -> Pairs:
        """Check dense arrays and take them as pairs; nothing is copied that has its right type already.

        Args:
            labels: bool, or the class as integer, (n_customers, n_categories).
            probabilities: In [0, 1], (n_customers, n_categories).
            mask: bool, (n_customers, n_categories), or None for all pairs.

        Raises:
            InputError: Shapes differ, an array isn't dense and two-dimensional, the mask isn't bool, or a
                probability is not a number in [0, 1].
        """
        label = np.asarray(labels)
        probability = np.asarray(probabilities)
        for name, array in (("labels", label), ("probabilities", probability)):
            if array.ndim != 2 or array.dtype == object:
                raise InputError(
                    f"{name} must be a dense array (n_customers, n_categories), not {array.ndim}-dimensional "
                    f"{array.dtype}. Call .toarray() on a sparse matrix."
                )
        if label.shape != probability.shape:
            raise InputError(
                f"labels have shape {label.shape}, probabilities {probability.shape}. "
                "Give categories that the model doesn't know its prior with protocol.expand()."
            )
        if not np.issubdtype(probability.dtype, np.floating):
            probability = probability.astype(np.float64)
        # One pass without a temporary; a NaN makes both comparisons false.
        if probability.size and not (probability.min() >= 0 and probability.max() <= 1):
            raise InputError("probabilities must be numbers in [0, 1]; found NaN or a value outside it.")
        return cls(label if label.dtype == np.bool_ else label > 0, probability, _checked_mask(mask, label.shape))

    def flat(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.floating[Any]]]:
        """Return label and probability of the pairs that count, each (n_pairs,)."""
        if self.mask is None:
            return self.positive.ravel(), self.probability.ravel()
        return self.positive[self.mask], self.probability[self.mask]

    def counted_positive(self) -> npt.NDArray[np.bool_]:
        """Return the positives among the pairs that count, bool, (n_customers, n_categories)."""
        return self.positive if self.mask is None else self.positive & self.mask

    def category(self, column: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.floating[Any]]]:
        """Return label and probability of one category's pairs that count, each (n_pairs_of_category,)."""
        if self.mask is None:
            return self.positive[:, column], self.probability[:, column]
        rows = self.mask[:, column]
        return self.positive[rows, column], self.probability[rows, column]

    def macro_categories(self, min_positives: int = MIN_POSITIVES) -> npt.NDArray[np.intp]:
        """Return the columns with `min_positives` positives and a negative among the pairs that count."""
        positives = self.counted_positive().sum(axis=0)
        n_pairs = np.full_like(positives, len(self.positive)) if self.mask is None else self.mask.sum(axis=0)
        return np.flatnonzero((positives >= max(min_positives, 1)) & (positives < n_pairs))


def _checked_mask(mask: npt.ArrayLike | None, shape: tuple[int, ...]) -> npt.NDArray[np.bool_] | None:
    if mask is None:
        return None
    checked = np.asarray(mask)
    # An integer mask would index rows instead of choosing pairs.
    if checked.dtype != np.bool_ or checked.shape != shape:
        raise InputError(f"The pair mask must be bool with shape {shape}, not {checked.dtype} {checked.shape}.")
    return checked
