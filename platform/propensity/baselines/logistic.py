"""Logistic regression, one for each category.

Source: Cox 1958, "The Regression Analysis of Binary Sequences"; one-vs-rest as in Rifkin and Klautau 2004, "In Defense
of One-Vs-All Classification". Solver: liblinear's trust region Newton method (Fan et al. 2008, "LIBLINEAR: A Library
for Large Linear Classification") through scikit-learn.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy.sparse import csr_matrix, hstack

from propensity.baselines.calibrated import CalibratedBaseline, fit_calibrated
from propensity.baselines.interface import FitOptions
from propensity.baselines.one_model_per_category import (
    CategoryModels,
    OwnColumns,
    learn_categories,
    newest_as_ofs,
)
from propensity.baselines.optional_packages import linear_models
from propensity.baselines.pair_signals import PairLayout
from propensity.models.encoding import squash
from propensity.training.encoding import fit_encoder

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.features.dictionary import FeatureDictionary
    from propensity.models.encoding import Encoder
    from propensity.training.examples import Examples


@dataclass(frozen=True)
class LogisticRegression:
    """One linear model per category on the encoded sparse features and the category's own signals.

    Of the category-aligned signals one tells about the other categories (all of them say nearly the same five times
    over, at five times the cost); the category's own are all there.
    """

    options: FitOptions = field(default_factory=FitOptions)
    common_signal: ClassVar[str] = "purchases_decay_60d"
    min_feature_rows: ClassVar[int] = 20
    inverse_penalty: ClassVar[float] = 0.05
    tolerance: ClassVar[float] = 1e-2

    def fit(self, examples: Examples, dictionary: FeatureDictionary) -> CalibratedBaseline:
        """Fit and calibrate. See `Baseline.fit`; categories with few positives rest on popularity."""
        linear_models()  # before the work: it may be missing
        return fit_calibrated(self, examples, dictionary, PairLayout.of(dictionary), self.options)

    def learn(self, examples: Examples, dictionary: FeatureDictionary) -> CategoryModels:
        """Learn from the newest as_ofs of `examples`."""
        solver = linear_models().LogisticRegression
        newest = newest_as_ofs(examples)
        prepare = _Preparation.fit(newest, dictionary, self.common_signal, self.min_feature_rows)

        def learn(columns: csr_matrix, positive: npt.NDArray[np.bool_]) -> Callable[[Any], npt.NDArray[np.float64]]:
            # The intercept is a column like any other to liblinear; a large one is hardly penalised.
            model = solver(
                C=self.inverse_penalty,
                solver="liblinear",
                tol=self.tolerance,
                intercept_scaling=10.0,
                random_state=self.options.seed,
            )
            fitted = model.fit(columns, positive)
            weights, intercept = fitted.coef_.ravel(), float(fitted.intercept_[0])
            return lambda other: np.asarray(other @ weights) + intercept

        return learn_categories(newest, prepare, learn)


@dataclass(frozen=True)
class _Preparation:
    """Encodes rows with what was fitted on training rows."""

    encoder: Encoder
    kept: npt.NDArray[np.bool_]
    layout: PairLayout
    mean: npt.NDArray[np.float32]
    std: npt.NDArray[np.float32]

    @classmethod
    def fit(cls, examples: Examples, dictionary: FeatureDictionary, common: str, min_rows: int) -> _Preparation:
        kept = (dictionary.category_index < 0) | (dictionary.signal == common)
        layout = PairLayout.of(dictionary)
        names = [str(number) for number in range(examples.n_categories)]
        encoder = fit_encoder(_only(examples, kept), dictionary, names, min_rows)
        signals = squash(layout.pairs(examples).signals)
        std = signals.std(axis=0) if len(signals) else np.ones(signals.shape[1], np.float32)
        mean = signals.mean(axis=0) if len(signals) else np.zeros(signals.shape[1], np.float32)
        return cls(encoder, kept, layout, mean, np.maximum(std, 1e-6))

    def __call__(self, examples: Examples) -> _Input:
        pairs = self.layout.pairs(examples)
        # Standardised over seen pairs, with a column of its own for being seen: without history all are 0.
        signals = np.column_stack(((squash(pairs.signals) - self.mean) / self.std, np.ones(len(pairs.row))))
        own = OwnColumns.of(examples, pairs.row, pairs.category, signals.astype(np.float32))
        return _Input(self.encoder.transform(_only(examples, self.kept).features).deep, own)


@dataclass(frozen=True)
class _Input:
    """Columns of all categories, and those of each."""

    common: csr_matrix
    own: OwnColumns

    def of(self, category: int) -> csr_matrix:
        return hstack((self.common, csr_matrix(self.own.category(category))), format="csr", dtype=np.float64)


def _only(examples: Examples, kept: npt.NDArray[np.bool_]) -> Examples:
    """Return the examples without the other features' values."""
    features = examples.features.copy()
    features.data = np.where(kept[features.indices], features.data, 0).astype(np.float32)
    features.eliminate_zeros()
    return dataclasses.replace(examples, features=features)
