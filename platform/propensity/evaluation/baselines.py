"""What a model has to beat: popularity, personal frequency, and personal frequency that forgets.

Each follows one rule: `BASELINES[name]().fit(examples, dictionary).predict(examples)`. Probabilities come
back dense. Personal frequency is the strongest simple rule of next-basket prediction: P-TopFreq ranks a
customer's own items by the number of past baskets with them, GP-TopFreq fills the list with the most popular
others. Sources: Hu, He, Gao and Zhang 2020, "Modeling Personalized Item Frequency Information for Next-basket
Recommendation" (TIFU-KNN), SIGIR; Li, Jullien, Ariannezhad and de Rijke 2023, "A Next Basket
Recommendation Reality Check". Both rank only; to compare log loss, the counts are mapped to probabilities on
the training examples here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

import numpy as np
from scipy.sparse import csr_matrix

from propensity.errors import TrainingError
from propensity.evaluation.aligned_signal import aligned_signal
from propensity.evaluation.calibration import LogOddsLine, RisingCurve, fit_log_odds_line, fit_rising_curve

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.features.dictionary import FeatureDictionary
    from propensity.training.examples import Examples

__all__ = [
    "BASELINES",
    "Baseline",
    "FittedBaseline",
    "GlobalPopularity",
    "PersonalFrequency",
    "RecencyWeightedFrequency",
    "aligned_signal",
]


class FittedBaseline(Protocol):
    """A baseline that knows all it needs from training."""

    def predict(self, examples: Examples) -> npt.NDArray[np.float32]:
        """Return the probability of a positive label, float32, dense, (n_examples, n_categories)."""
        ...


class Baseline(Protocol):
    """A rule simple enough to explain in a sentence."""

    def fit(self, examples: Examples, dictionary: FeatureDictionary) -> FittedBaseline:
        """Fit on training examples, whose label windows ended by the as_of that will be predicted.

        Args:
            examples: Rows with labels.
            dictionary: Describes the columns of `examples.features`, and of those predicted later.

        Raises:
            TrainingError: There are no rows or no labels.
            LookupFailedError: The dictionary lacks the signal the baseline counts with.
        """
        ...


@dataclass(frozen=True)
class GlobalPopularity:
    """Everybody gets the share of known customers who bought the category in the 30 days before the as_of."""

    def fit(self, examples: Examples, dictionary: FeatureDictionary) -> FittedGlobalPopularity:
        """Return the rule; there is nothing to fit, the share is point in time already."""
        del examples, dictionary
        return FittedGlobalPopularity()


@dataclass(frozen=True)
class FittedGlobalPopularity:
    """The share as it is, uncalibrated, as EVALUATION.md takes it."""

    def predict(self, examples: Examples) -> npt.NDArray[np.float32]:
        """Return each row's popularity, float32, dense, (n_examples, n_categories)."""
        return examples.popularity[examples.as_of_position].astype(np.float32, copy=False)


@dataclass(frozen=True)
class PersonalFrequency:
    """The more often bought in 365 days, the likelier bought again; without history, popularity decides.

    Seen pairs get the calibrated share of positives at their count, the others their popularity calibrated on
    unseen training pairs: P-TopFreq with GP-TopFreq's fallback, as probabilities. Only the newest training
    as_of is used: where the data begin less than 365 days before an as_of, its counts are lower and mean
    more, so that on Complete Journey thirteen cut-offs together leave a calibration error of 2 %.
    """

    signal: ClassVar[str] = "purchases_365d"

    def fit(self, examples: Examples, dictionary: FeatureDictionary) -> FittedFrequency:
        """Fit the two maps on the newest as_of; memory follows the signal's non-zeros. See `Baseline.fit`."""
        if examples.labels is None or not len(examples):
            raise TrainingError(f"{type(self).__name__} needs training rows with labels. Build labels first.")
        newest = examples.as_of == examples.as_of[examples.as_of_position].max()
        examples = examples.at(newest)
        labels = examples.labels
        assert labels is not None
        counts = aligned_signal(examples, dictionary, self.signal)
        positive = (labels > 0).astype(np.int8)
        seen = csr_matrix((np.arange(1, counts.nnz + 1), counts.indices, counts.indptr), shape=counts.shape)
        # The product keeps the number of each seen pair that is positive.
        seen_positive = seen.multiply(positive.astype(np.int64)).tocsr()
        is_positive = np.zeros(counts.nnz, dtype=np.bool_)
        is_positive[seen_positive.data - 1] = True
        unseen_pairs = len(examples) - _per_category(seen)
        unseen_positives = _per_category(positive) - _per_category(seen_positive)
        return FittedFrequency(
            signal=self.signal,
            dictionary=dictionary,
            seen=fit_rising_curve(counts.data, is_positive),
            unseen=fit_log_odds_line(
                examples.popularity[0],
                unseen_positives.astype(np.float64),
                unseen_pairs.astype(np.float64),
            ),
        )


@dataclass(frozen=True)
class RecencyWeightedFrequency(PersonalFrequency):
    """Personal frequency with a count in which each purchase fades with its age (TIFU-KNN's time decay)."""

    signal: ClassVar[str] = "purchases_decay_60d"


@dataclass(frozen=True)
class FittedFrequency:
    """Two maps to a probability, for pairs with and without history.

    Attributes:
        signal: Category-aligned signal that counts.
        dictionary: Describes the features the rule was fitted with.
        seen: From the signal's value.
        unseen: From the category's popularity.
    """

    signal: str
    dictionary: FeatureDictionary
    seen: RisingCurve
    unseen: LogOddsLine

    def predict(self, examples: Examples) -> npt.NDArray[np.float32]:
        """Return the probability of a positive label, float32, dense, (n_examples, n_categories).

        Raises:
            InputError: The examples have features that the rule's dictionary doesn't know; fit it again.
        """
        counts = aligned_signal(examples, self.dictionary, self.signal)
        by_as_of = self.unseen(examples.popularity).astype(np.float32)
        probability: npt.NDArray[np.float32] = by_as_of[examples.as_of_position]
        if len(self.seen.score):
            rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
            probability[rows, counts.indices] = self.seen(counts.data)
        return probability


BASELINES: Final[dict[str, type[Baseline]]] = {
    "global_popularity": GlobalPopularity,
    "personal_frequency": PersonalFrequency,
    "recency_weighted_frequency": RecencyWeightedFrequency,
}
"""The baselines by name, weakest first."""


def _per_category(matrix: csr_matrix) -> npt.NDArray[np.int64]:
    """Count the stored entries of each column, int64, (n_categories,)."""
    return np.bincount(matrix.indices, minlength=matrix.shape[1])
