"""The pairs every model is evaluated on, and the figures that show that they are the same pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from propensity.errors import InputError
from propensity.evaluation.diagnostics import Diagnostics, diagnose
from propensity.evaluation.evaluation import Evaluation, evaluate
from propensity.evaluation.pairs import MIN_POSITIVES
from propensity.training.aligned_signal import aligned_signal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from propensity.features.dictionary import FeatureDictionary
    from propensity.training.examples import Examples

REPEAT_SIGNAL = "purchases_365d"
NO_LABELS = "An evaluation needs labels in both test and training examples; build them first."


@dataclass(frozen=True)
class HoldoutWindow:
    """The held-out labels of one as_of: every known customer times every category, as dense arrays.

    Attributes:
        customer_id: Each customer once, str, (n_customers,).
        categories: Names in column order, (n_categories,).
        category_index: The platform's stable index of each column, int32, (n_categories,).
        labels: Whether the label's class is above 0, bool, (n_customers, n_categories).
        repeat: Whether the customer bought the category in the 365 days before, bool, (n_customers,
            n_categories).
        training_label_counts: Positives of each category in the training rows, int64, (n_categories,).
        n_training_examples: Training rows.
    """

    customer_id: npt.NDArray[np.object_]
    categories: tuple[str, ...]
    category_index: npt.NDArray[np.int32]
    labels: npt.NDArray[np.bool_]
    repeat: npt.NDArray[np.bool_]
    training_label_counts: npt.NDArray[np.int64]
    n_training_examples: int

    def __post_init__(self) -> None:
        """Check that all arrays are about the same customers and categories; raise InputError if not."""
        shape = (len(self.customer_id), len(self.categories))
        for name, array, expected in (
            ("labels", self.labels, shape),
            ("repeat", self.repeat, shape),
            ("category_index", self.category_index, shape[1:]),
            ("training_label_counts", self.training_label_counts, shape[1:]),
        ):
            if array.shape != expected:
                raise InputError(f"HoldoutWindow.{name} has shape {array.shape}; expected {expected}.")
        if len(np.unique(self.customer_id)) != len(self.customer_id):
            raise InputError("HoldoutWindow.customer_id names a customer twice; a window has one as_of.")

    @classmethod
    def from_examples(
        cls,
        test: Examples,
        training: Examples,
        dictionary: FeatureDictionary,
        categories: Sequence[str],
        *,
        category_index: npt.ArrayLike | None = None,
        repeat_signal: str = REPEAT_SIGNAL,
    ) -> HoldoutWindow:
        """Take the window from the lake's examples; memory is two bool arrays of all pairs.

        Args:
            test: The examples of one as_of, with labels.
            training: The examples the models were fitted on, with labels, all of earlier as_ofs.
            dictionary: Describes the columns of `test.features`.
            categories: Names of the evaluated categories, (n_categories,).
            category_index: Their columns in the examples' labels, (n_categories,); None means all in order.
            repeat_signal: Category-aligned signal that is above 0 for repeat pairs.

        Raises:
            InputError: `test` has more than one as_of, labels are missing, or a training as_of isn't earlier.
            LookupFailedError: The dictionary has no such signal.
        """
        if training.labels is None:
            raise InputError(NO_LABELS)
        if len(test.as_of) and len(training.as_of) and training.as_of.max() >= test.as_of[0]:
            raise InputError(
                f"A training as_of ({training.as_of.max()}) isn't before the test's ({test.as_of[0]}): its labels leak."
            )
        counts = np.asarray((training.labels > 0).sum(axis=0), dtype=np.int64).ravel()
        return cls.of_rows(
            test,
            (counts, len(training)),
            dictionary,
            categories,
            category_index=category_index,
            repeat_signal=repeat_signal,
        )

    @classmethod
    def of_rows(
        cls,
        test: Examples,
        training_labels: tuple[npt.NDArray[np.int64], int],
        dictionary: FeatureDictionary,
        categories: Sequence[str],
        *,
        category_index: npt.ArrayLike | None = None,
        repeat_signal: str = REPEAT_SIGNAL,
    ) -> HoldoutWindow:
        """Take the window from its examples and what is to be known of the training: as `from_examples`.

        Args:
            training_labels: Positives of each category in the training rows, (n_categories,), and those rows' number.

        Raises:
            InputError: `test` has more than one as_of, or labels are missing.
            LookupFailedError: The dictionary has no such signal.
        """
        if test.labels is None:
            raise InputError(NO_LABELS)
        if len(test.as_of) != 1:
            raise InputError(f"A holdout window has one as_of, not {len(test.as_of)}. Choose one with Examples.at().")
        of_category, n_training_examples = training_labels
        index = np.asarray(np.arange(len(categories)) if category_index is None else category_index, dtype=np.int32)
        if index.size and (index.min() < 0 or index.max() >= test.n_categories):
            raise InputError(f"category_index must be in 0..{test.n_categories - 1}, the examples' categories.")
        counts = np.zeros(max(test.n_categories, len(of_category)), dtype=np.int64)
        counts[: len(of_category)] = of_category
        return cls(
            customer_id=test.customer_id,
            categories=tuple(categories),
            category_index=index,
            labels=(test.labels > 0)[:, index].toarray(),
            repeat=(aligned_signal(test, dictionary, repeat_signal) > 0)[:, index].toarray(),
            training_label_counts=counts[index],
            n_training_examples=n_training_examples,
        )

    def align(
        self,
        probabilities: npt.NDArray[np.floating[Any]],
        known_category_index: npt.ArrayLike,
        prior: npt.ArrayLike,
    ) -> npt.NDArray[np.float32]:
        """Put a model's columns into the window's order; see `expand`, whose arguments these are.

        A category the window doesn't have is dropped, one the model doesn't know gets the prior. `prior` is a
        number, or an array by the platform's category index.
        """
        known = np.asarray(known_category_index, dtype=np.int64)
        needed = 1 + max(int(known.max(initial=-1)), int(self.category_index.max(initial=-1)), np.size(prior) - 1)
        return expand(probabilities, known, needed, prior)[:, self.category_index]

    def evaluate(self, probabilities: npt.ArrayLike) -> Evaluation:
        """Compute all figures for probabilities in the window's rows and columns, see `evaluate`."""
        return evaluate(
            self.labels,
            probabilities,
            self.repeat,
            training_label_counts=self.training_label_counts if self.n_training_examples else None,
            n_training_examples=self.n_training_examples or None,
        )

    def diagnose(self, probabilities: npt.ArrayLike) -> Diagnostics:
        """Compute curves and per-category figures for probabilities in the window's rows and columns."""
        return diagnose(self.labels, probabilities, self.repeat, self.categories)

    def describe(self) -> dict[str, float]:
        """Return the protocol's check figures by name; shares are in [0, 1], undefined ones NaN.

        Two evaluations are comparable only where these agree. See EVALUATION.md, "Check that you evaluate the
        same thing".
        """
        positives = int(self.labels.sum())
        repeat_positives = int((self.labels & self.repeat).sum())
        repeat_pairs = int(self.repeat.sum())
        return {
            "households": self.labels.shape[0],
            "categories": self.labels.shape[1],
            "label_density": _share(positives, self.labels.size),
            "positives_per_household": _share(positives, self.labels.shape[0]),
            "households_with_positive": int(self.labels.any(axis=1).sum()),
            "categories_with_20_positives": int((self.labels.sum(axis=0) >= MIN_POSITIVES).sum()),
            "repeat_share_of_positives": _share(repeat_positives, positives),
            "p_label_given_repeat": _share(repeat_positives, repeat_pairs),
            "p_label_given_explore": _share(positives - repeat_positives, self.labels.size - repeat_pairs),
        }


def expand(
    probabilities: npt.NDArray[np.floating[Any]],
    known_category_index: npt.ArrayLike,
    n_categories: int,
    prior: npt.ArrayLike,
) -> npt.NDArray[np.float32]:
    """Give the categories a model doesn't know its prior for unseen ones: none is left out of the evaluation.

    Args:
        probabilities: The model's, (n_customers, n_known).
        known_category_index: Column of the result each of them belongs to, distinct, (n_known,).
        n_categories: Columns of the result.
        prior: Probability in [0, 1] of a category the model never saw: one number, or one a category,
            (n_categories,), of which the known ones are ignored.

    Returns:
        float32, dense, (n_customers, n_categories).

    Raises:
        InputError: An index is out of range or given twice, shapes don't match, or the prior isn't in [0, 1].
    """
    known = np.asarray(known_category_index, dtype=np.int64)
    if probabilities.ndim != 2 or known.shape != probabilities.shape[1:]:
        raise InputError(
            f"expand() needs one category index for each column, not {known.shape} for {probabilities.shape}."
        )
    if known.size and (known.min() < 0 or known.max() >= n_categories):
        raise InputError(f"known_category_index must be in 0..{n_categories - 1}.")
    if len(np.unique(known)) != len(known):
        raise InputError("known_category_index names a category twice.")
    unseen = np.asarray(prior, dtype=np.float32)
    if unseen.shape not in {(), (n_categories,)} or not ((unseen >= 0) & (unseen <= 1)).all():
        raise InputError(f"prior must be a probability, or one for each of {n_categories} categories.")
    expanded = np.empty((len(probabilities), n_categories), dtype=np.float32)
    expanded[:] = unseen
    expanded[:, known] = probabilities
    return expanded


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
