"""Personal frequency, and personal frequency that forgets.

The strongest simple rule of next-basket prediction: P-TopFreq ranks a customer's own items by the number of past
baskets with them, GP-TopFreq fills the list with the most popular others. Sources: Hu, He, Gao and Zhang 2020,
"Modeling Personalized Item Frequency Information for Next-basket Recommendation" (TIFU-KNN), SIGIR; Li, Jullien,
Ariannezhad and de Rijke 2023, "A Next Basket Recommendation Reality Check". Both rank only; to compare log loss, the
counts are mapped to probabilities on the training examples here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from propensity.baselines.calibration import LogOddsLine, RisingCurve, fit_log_odds_line, fit_rising_curve
from propensity.baselines.interface import FitOptions
from propensity.baselines.split_curves import newest_labelled, split_pairs
from propensity.training.aligned_signal import aligned_signal

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.features.dictionary import FeatureDictionary
    from propensity.training.examples import Examples


@dataclass(frozen=True)
class PersonalFrequency:
    """The more often bought in 365 days, the likelier bought again; without history, popularity decides.

    Seen pairs get the calibrated share of positives at their count, the others their popularity calibrated on
    unseen training pairs: P-TopFreq with GP-TopFreq's fallback, as probabilities. Only the newest training
    as_of is used: where the data begin less than 365 days before an as_of, its counts are lower and mean
    more, so that on Complete Journey thirteen cut-offs together leave a calibration error of 2 %.
    """

    options: FitOptions = field(default_factory=FitOptions)
    signal: ClassVar[str] = "purchases_365d"

    def fit(self, examples: Examples, dictionary: FeatureDictionary) -> FittedFrequency:
        """Fit the two maps on the newest as_of; memory follows the signal's non-zeros. See `Baseline.fit`."""
        newest = newest_labelled(examples, type(self).__name__)
        counts = aligned_signal(newest, dictionary, self.signal)
        assert newest.labels is not None
        pairs = split_pairs(counts, newest.labels)
        return FittedFrequency(
            signal=self.signal,
            dictionary=dictionary,
            seen=fit_rising_curve(counts.data, pairs.seen_positive),
            unseen=fit_log_odds_line(newest.popularity[0], pairs.unseen_positives, pairs.unseen_pairs),
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
        """Return the probability of a positive label, see `FittedBaseline.predict`."""
        counts = aligned_signal(examples, self.dictionary, self.signal)
        by_as_of = self.unseen(examples.popularity).astype(np.float32)
        probability: npt.NDArray[np.float32] = by_as_of[examples.as_of_position]
        if len(self.seen.score):
            rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
            probability[rows, counts.indices] = self.seen(counts.data)
        return probability
