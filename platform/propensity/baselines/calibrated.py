"""Learned baselines are calibrated as the net is: on the newest training as_of, held out, then learned once more.

Also here: which as_ofs are free to learn from while the newest one is held out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from propensity.errors import TrainingError
from propensity.models.calibration import propensity
from propensity.training.calibration import evenly, fit_calibration

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.baselines.interface import FitOptions
    from propensity.baselines.pair_signals import PairLayout
    from propensity.features.dictionary import FeatureDictionary
    from propensity.models.calibration import Calibration
    from propensity.training.examples import Examples

CLOCK_CHANGE: Final = np.timedelta64(1, "h")
"""Local days may be an hour longer or shorter in UTC; as_ofs are days apart."""


class Margins(Protocol):
    """What was learned."""

    def margins(self, examples: Examples) -> npt.NDArray[np.float32]:
        """Return log-odds of a positive label, float32, dense, (n_examples, n_categories)."""
        ...


class Learner(Protocol):
    """Something that learns log-odds from labels."""

    def learn(self, examples: Examples, dictionary: FeatureDictionary) -> Margins:
        """Learn from all of `examples`."""
        ...


@dataclass(frozen=True)
class CalibratedBaseline:
    """Log-odds with the calibration that was fitted on held-out ones.

    Attributes:
        learned: Gives log-odds; learned from all training rows.
        layout: Says which pairs have a history.
        calibration: Apart for pairs with and without history, with an offset for each category known in training.
    """

    learned: Margins
    layout: PairLayout
    calibration: Calibration

    def predict(self, examples: Examples) -> npt.NDArray[np.float32]:
        """Return the probability of a positive label, see `FittedBaseline.predict`; never 0 or 1."""
        margins = self.learned.margins(examples)
        pairs = self.layout.pairs(examples)
        own, now = self.calibration.offset.shape[2], margins.shape[1]
        calibration = self.calibration.for_categories(range(own), range(now))
        return propensity(calibration.apply(margins[:, None], pairs.row, pairs.category))


def fit_calibrated(
    learner: Learner, examples: Examples, dictionary: FeatureDictionary, layout: PairLayout, options: FitOptions
) -> CalibratedBaseline:
    """Learn, calibrate on the newest as_of, learn again from all as_ofs.

    Raises:
        TrainingError: There are no rows or labels, or no as_of's label window had ended by the newest as_of.
    """
    name = type(learner).__name__
    first, newest = held_out(examples, options.horizon_days, name)
    kept = evenly(len(newest), newest.n_categories)
    margins = learner.learn(first, dictionary).margins(newest)[kept]
    pairs = layout.pairs(newest)
    seen = np.zeros((len(newest), newest.n_categories), bool)
    seen[pairs.row, pairs.category] = True
    assert newest.labels is not None
    positive = (newest.labels[kept] > 0).toarray().astype(np.int8)
    calibration = fit_calibration(margins[:, None], positive, seen[kept])
    return CalibratedBaseline(learner.learn(examples, dictionary), layout, calibration)


def held_out(examples: Examples, horizon_days: int, name: str) -> tuple[Examples, Examples]:
    """Return the rows whose label windows had ended by the newest as_of, and the newest as_of's.

    Raises:
        TrainingError: One of them would be empty; `name` is the baseline that needs them.
    """
    if examples.labels is None or not len(examples):
        raise TrainingError(f"{name} needs training rows with labels. Build them: propensity labels build")
    newest = examples.as_of[examples.as_of_position].max()
    ended = examples.as_of + np.timedelta64(horizon_days, "D") <= newest + CLOCK_CHANGE
    first = examples.at(ended)
    if not len(first) or first.labels is None or not (first.labels.data > 0).any():
        raise TrainingError(
            f"{name} is calibrated on the window from {newest}, and no training window with a positive label ended "
            "before it. Train with more cut-offs: PROPENSITY_TRAINING__CUTOFFS"
        )
    return first, examples.at(examples.as_of == newest)
