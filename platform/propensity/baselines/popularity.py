"""Global popularity: what everybody does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from propensity.baselines.interface import FitOptions

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.features.dictionary import FeatureDictionary
    from propensity.training.examples import Examples


@dataclass(frozen=True)
class GlobalPopularity:
    """Everybody gets the share of known customers who bought the category in the 30 days before the as_of."""

    options: FitOptions = field(default_factory=FitOptions)

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
