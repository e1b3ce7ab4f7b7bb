"""LightGBM, one forest for the pairs of all categories.

Source: Ke et al. 2017, "LightGBM: A Highly Efficient Gradient Boosting Decision Tree", NeurIPS. Most pairs have neither
history nor label, so only a share of these is learned from, and the log-odds are corrected for it: King and Zeng 2001,
"Logistic Regression in Rare Events Data", section 4.1, here as an offset per row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from propensity.baselines.calibrated import CalibratedBaseline, fit_calibrated
from propensity.baselines.forest import boosted
from propensity.baselines.interface import FitOptions
from propensity.baselines.one_model_per_category import newest_as_ofs
from propensity.baselines.optional_packages import lightgbm
from propensity.baselines.pair_signals import PairLayout, popularity_log_odds

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.features.dictionary import FeatureDictionary
    from propensity.training.examples import Examples

MAX_UNSEEN_PAIRS: Final = 2_000_000
"""Pairs without history that are drawn at most, however many customers and categories there are."""
BLOCK_PAIRS: Final = 400_000
"""Pairs predicted at once; with 40 columns 64 MB."""


@dataclass(frozen=True)
class LightGbmPooled:
    """One forest over pairs: their own signals, the customer's rhythm, the category's popularity and number."""

    options: FitOptions = field(default_factory=FitOptions)
    as_ofs: ClassVar[int] = 5
    kept_share: ClassVar[float] = 0.15
    rounds: ClassVar[int] = 150
    parameters: ClassVar[dict[str, Any]] = {
        "learning_rate": 0.1,
        "num_leaves": 31,
        "min_data_in_leaf": 200,
        "feature_fraction": 0.6,
        "lambda_l2": 5.0,
        "max_bin": 127,
        "cat_smooth": 50.0,
        "cat_l2": 20.0,
        "min_data_per_group": 200,
    }

    def fit(self, examples: Examples, dictionary: FeatureDictionary) -> CalibratedBaseline:
        """Fit and calibrate. See `Baseline.fit`."""
        lightgbm()  # before the work: it may be missing
        return fit_calibrated(self, examples, dictionary, PairLayout.of(dictionary), self.options)

    def learn(self, examples: Examples, dictionary: FeatureDictionary) -> PooledForest:
        """Learn from the newest as_ofs of `examples`; memory follows the pairs with history and the share kept."""
        newest = newest_as_ofs(examples, self.as_ofs)
        assert newest.labels is not None
        layout = PairLayout.of(dictionary)
        pairs = layout.pairs(newest)
        code = _code(pairs.row, pairs.category, newest)
        labels = (newest.labels > 0).tocoo()
        positive_code = np.sort(_code(labels.row, labels.col, newest))
        # Of the pairs without history all positives and a share of the negatives are kept.
        generator = np.random.default_rng(self.options.seed)
        n_pairs = len(newest) * newest.n_categories
        share = min(self.kept_share, MAX_UNSEEN_PAIRS / n_pairs)
        drawn = np.unique(generator.integers(n_pairs, size=round(n_pairs * -np.log1p(-share))))
        negatives = np.setdiff1d(np.setdiff1d(drawn, code), positive_code)
        unseen_positives = np.setdiff1d(positive_code, code)
        n_unseen_negatives = n_pairs - len(code) - len(unseen_positives)
        kept = len(negatives) / max(n_unseen_negatives, 1)
        rows = np.sort(np.concatenate((code, unseen_positives, negatives)))
        seen = np.isin(rows, code)
        positive = np.isin(rows, positive_code)
        # A pair without history is 1 / kept times as likely to be positive here as in truth.
        offset = np.where(seen | (kept == 0), 0.0, -np.log(max(kept, 1e-12))).astype(np.float32)
        columns = _columns(newest, layout, rows)
        forest = boosted(
            columns,
            positive,
            self.parameters,
            self.rounds,
            self.options,
            offset=offset,
            categorical=columns.shape[1] - 1,
        )
        return PooledForest(forest, layout)


@dataclass(frozen=True)
class PooledForest:
    """The forest; see `baselines.calibrated.Margins`.

    Attributes:
        forest: From a pair's columns to log-odds.
        layout: Where features go.
    """

    forest: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float64]]
    layout: PairLayout

    def margins(self, examples: Examples) -> npt.NDArray[np.float32]:
        """Return log-odds of a positive label, float32, dense, (n_examples, n_categories)."""
        margins = np.empty((len(examples), examples.n_categories), np.float32)
        flat = margins.reshape(-1)
        per_block = max(BLOCK_PAIRS // max(examples.n_categories, 1), 1) * examples.n_categories
        source = _Source.of(examples, self.layout)
        for start in range(0, flat.size, per_block):
            rows = np.arange(start, min(start + per_block, flat.size))
            flat[rows] = self.forest(source.columns(rows))
        return margins


@dataclass(frozen=True)
class _Source:
    """What the columns of pairs are made of, prepared once for some rows."""

    code: npt.NDArray[np.int64]
    signals: npt.NDArray[np.float32]
    households: npt.NDArray[np.float32]
    popularity: npt.NDArray[np.float32]
    as_of_position: npt.NDArray[np.int32]

    @classmethod
    def of(cls, examples: Examples, layout: PairLayout) -> _Source:
        pairs = layout.pairs(examples)
        return cls(
            _code(pairs.row, pairs.category, examples),
            pairs.signals,
            layout.households(examples),
            popularity_log_odds(examples),
            examples.as_of_position,
        )

    def columns(self, pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return signals, rhythm, popularity and the category's number, (n_pairs, n_columns); `pairs` rise."""
        n_categories = self.popularity.shape[1]
        row, category = pairs // n_categories, pairs % n_categories
        width = self.signals.shape[1]
        columns = np.zeros((len(pairs), width + self.households.shape[1] + 2), np.float32)
        at = np.minimum(np.searchsorted(self.code, pairs), max(len(self.code) - 1, 0))
        seen = self.code[at] == pairs if len(self.code) else np.zeros(len(pairs), bool)
        columns[seen, :width] = self.signals[at[seen]]
        columns[:, width:-2] = self.households[row]
        columns[:, -2] = self.popularity[self.as_of_position[row], category]
        columns[:, -1] = category
        return columns


def _columns(examples: Examples, layout: PairLayout, pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    return _Source.of(examples, layout).columns(pairs)


def _code(row: npt.NDArray[Any], category: npt.NDArray[Any], examples: Examples) -> npt.NDArray[np.int64]:
    """Number the pairs: row times categories plus category."""
    code: npt.NDArray[np.int64] = row.astype(np.int64) * examples.n_categories + category
    return code
