"""LightGBM, one forest for each category.

Source: Ke et al. 2017, "LightGBM: A Highly Efficient Gradient Boosting Decision Tree", NeurIPS. What the other
categories say reaches the forest as components of the encoded features: latent semantic indexing, Deerwester et al.
1990.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from propensity.baselines.calibrated import CalibratedBaseline, fit_calibrated
from propensity.baselines.components import Components
from propensity.baselines.forest import boosted
from propensity.baselines.interface import FitOptions
from propensity.baselines.one_model_per_category import (
    CategoryModels,
    OwnColumns,
    learn_categories,
    newest_as_ofs,
)
from propensity.baselines.optional_packages import lightgbm
from propensity.baselines.pair_signals import PairLayout

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.features.dictionary import FeatureDictionary
    from propensity.training.examples import Examples


@dataclass(frozen=True)
class LightGbmPerCategory:
    """One forest per category: its own signals and popularity, the customer's rhythm, components of all features."""

    options: FitOptions = field(default_factory=FitOptions)
    components: ClassVar[int] = 32
    rounds: ClassVar[int] = 60
    parameters: ClassVar[dict[str, Any]] = {
        "learning_rate": 0.06,
        "num_leaves": 7,
        "min_data_in_leaf": 60,
        "feature_fraction": 0.5,
        "lambda_l2": 10.0,
        "max_bin": 63,
    }

    def fit(self, examples: Examples, dictionary: FeatureDictionary) -> CalibratedBaseline:
        """Fit and calibrate. See `Baseline.fit`; categories with few positives rest on popularity."""
        lightgbm()  # before the work: it may be missing
        return fit_calibrated(self, examples, dictionary, PairLayout.of(dictionary), self.options)

    def learn(self, examples: Examples, dictionary: FeatureDictionary) -> CategoryModels:
        """Learn from the newest as_ofs of `examples`."""
        newest = newest_as_ofs(examples)
        prepare = _Preparation(
            PairLayout.of(dictionary), Components.fit(newest, dictionary, self.components, self.options.seed)
        )

        def learn(columns: Any, positive: npt.NDArray[np.bool_]) -> Callable[[Any], npt.NDArray[np.float64]]:
            return boosted(columns, positive, self.parameters, self.rounds, self.options)

        return learn_categories(newest, prepare, learn)


@dataclass(frozen=True)
class _Preparation:
    """Makes dense columns with what was fitted on training rows."""

    layout: PairLayout
    components: Components

    def __call__(self, examples: Examples) -> _Input:
        pairs = self.layout.pairs(examples)
        common = np.hstack((self.layout.households(examples), self.components.of(examples)))
        return _Input(common, OwnColumns.of(examples, pairs.row, pairs.category, pairs.signals))


@dataclass(frozen=True)
class _Input:
    """Columns of all categories, and those of each."""

    common: npt.NDArray[np.float32]
    own: OwnColumns

    def of(self, category: int) -> npt.NDArray[np.float32]:
        return np.hstack((self.own.category(category), self.common))
