"""What is known of a pair (customer, category) and of the customer, as dense columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from propensity.errors import InputError
from propensity.models.encoding import log_odds
from propensity.models.seen_pairs import seen_pairs

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.features.dictionary import FeatureDictionary
    from propensity.training.examples import Examples


@dataclass(frozen=True)
class Pairs:
    """The pairs with any category-aligned signal, in rising (row, category).

    Attributes:
        row: int32, (n_pairs,).
        category: `category_index`, int32, (n_pairs,).
        signals: In raw units, 0 where not stored, float32, (n_pairs, n_signals).
    """

    row: npt.NDArray[np.int32]
    category: npt.NDArray[np.int32]
    signals: npt.NDArray[np.float32]


@dataclass(frozen=True)
class PairLayout:
    """Where a dictionary's features go.

    Attributes:
        category: A category-aligned feature's `category_index`, else -1, int32, (n_features,).
        signal: Its signal's column, else -1, int32, (n_features,).
        signals: Names of the columns, `family.signal`.
        household: The feature's column among those of the customer alone, else -1, int32, (n_features,).
        household_signals: Names of these columns.
    """

    category: npt.NDArray[np.int32]
    signal: npt.NDArray[np.int32]
    signals: tuple[str, ...]
    household: npt.NDArray[np.int32]
    household_signals: tuple[str, ...]

    @classmethod
    def of(cls, dictionary: FeatureDictionary) -> PairLayout:
        """Lay out the dictionary; a signal with a single key that is no category is one of the customer's rhythm."""
        names = np.array(
            [f"{family}.{signal}" for family, signal in zip(dictionary.family, dictionary.signal, strict=True)], object
        )
        aligned = dictionary.category_index >= 0
        signals, signal = _numbered(names, aligned)
        found, features = np.unique(names[~aligned].astype(str), return_counts=True)
        household_signals, household = _numbered(names, ~aligned & np.isin(names.astype(str), found[features == 1]))
        category = np.where(aligned, dictionary.category_index, -1).astype(np.int32)
        return cls(category, signal, signals, household, household_signals)

    def pairs(self, examples: Examples) -> Pairs:
        """Return the pairs with history; cost follows the features' non-zeros.

        Raises:
            InputError: The examples have features that the layout doesn't know.
        """
        self._check(examples)
        indptr, category, signals = seen_pairs(
            examples.features, examples.features.data, self.category, self.signal, n_categories=examples.n_categories
        )
        if signals.shape[1] < len(self.signals):
            signals = np.pad(signals, ((0, 0), (0, len(self.signals) - signals.shape[1])))
        row = np.repeat(np.arange(len(examples), dtype=np.int32), np.diff(indptr))
        return Pairs(row, category, signals)

    def households(self, examples: Examples) -> npt.NDArray[np.float32]:
        """Return the customers' own signals in raw units, float32, (n_examples, n_household_signals)."""
        self._check(examples)
        column = self.household[examples.features.indices]
        kept = column >= 0
        row = np.repeat(np.arange(len(examples)), np.diff(examples.features.indptr))[kept]
        dense = np.zeros((len(examples), len(self.household_signals)), np.float32)
        dense[row, column[kept]] = examples.features.data[kept]
        return dense

    def _check(self, examples: Examples) -> None:
        if examples.features.shape[1] > len(self.category):
            raise InputError(
                f"The examples have {examples.features.shape[1]} features, the dictionary {len(self.category)}: "
                "it is older than they are. Load it again."
            )
        if self.category.max(initial=-1) >= examples.n_categories:
            raise InputError(
                f"The dictionary has category_index {self.category.max()}, but the examples have "
                f"{examples.n_categories} categories."
            )


def popularity_log_odds(examples: Examples) -> npt.NDArray[np.float32]:
    """Return log-odds of the popularity at each as_of, float32, (n_as_of, n_categories)."""
    return log_odds(examples.popularity)


def _numbered(
    names: npt.NDArray[np.object_], chosen: npt.NDArray[np.bool_]
) -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
    """Number the distinct names of the chosen features; the others get -1."""
    number = np.full(len(names), -1, np.int32)
    distinct, position = np.unique(names[chosen].astype(str), return_inverse=True)
    number[chosen] = position
    return tuple(map(str, distinct)), number
