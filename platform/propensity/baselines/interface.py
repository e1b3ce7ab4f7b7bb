"""What a baseline is: fitted on training examples, it gives a probability for every pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from propensity.features.dictionary import FeatureDictionary
    from propensity.training.examples import Examples


@dataclass(frozen=True)
class FitOptions:
    """What every baseline is told beside its data.

    Attributes:
        horizon_days: Length of the label windows in days; says which windows had ended by another as_of.
        threads: Threads a library may use; the result doesn't depend on it.
        seed: Of all that is drawn.
    """

    horizon_days: int = 30
    threads: int = 1
    seed: int = 7


class FittedBaseline(Protocol):
    """A baseline that knows all it needs from training."""

    def predict(self, examples: Examples) -> npt.NDArray[np.float32]:
        """Return the probability of a positive label, float32, dense, (n_examples, n_categories).

        Raises:
            InputError: The examples have features that the baseline's dictionary doesn't know; fit it again.
        """
        ...


class Baseline(Protocol):
    """A rule or model to be beaten, not yet fitted."""

    def __init__(self, options: FitOptions = ...) -> None:
        """Take the options; nothing is computed."""

    def fit(self, examples: Examples, dictionary: FeatureDictionary) -> FittedBaseline:
        """Fit on training examples, whose label windows ended by the as_of that will be predicted.

        Args:
            examples: Rows with labels.
            dictionary: Describes the columns of `examples.features`, and of those predicted later.

        Raises:
            TrainingError: There are no rows or no labels, or no window to calibrate on.
            LookupFailedError: The dictionary lacks the signal the baseline counts with.
            RuntimeMissingError: The baseline needs an optional package that isn't installed.
        """
        ...
