"""The figures of one model on a test window that is too large to hold: customers come in blocks.

`evaluation.evaluate` needs all pairs at once; a million customers times 2,000 categories are 2e9. Here a block
is read, added to sums and histograms, and forgotten. What memory is needed doesn't depend on the customers.

- Exact, from sums over pairs and customers: log loss, Brier score, calibration error with bins of equal width,
  NDCG, recall, precision and propensity-scored precision at 10, and all counts.
- From 65,536 bins of log-odds, 4.7e-4 nats wide: micro ROC AUC, micro average precision, calibration error with
  bins of equal mass.
- From 1,024 bins a category, 0.03 nats wide: macro ROC AUC, macro average precision, top-decile lift.

What the bins can cost is computed with each figure, see `propensity.evaluation.binned`. For scores that spread
over some nats the bounds are 2e-5 for the micro AUC, 1e-4 for the micro average precision, 3e-4 for the calibration
error, 2e-3 for the macro AUC, 6e-3 for the macro average precision and 0.05 for the lift; the true errors were
a tenth of that for the lift and a fiftieth or less for the others. Scores that really tie, such as a popularity that
all customers share, have wide bounds (0.5 for the macro AUC): bins can't tell ties from neighbours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.sparse import csr_matrix, issparse

from propensity.errors import InputError
from propensity.evaluation import binned
from propensity.evaluation.evaluation import LIST_LENGTH, Evaluation, Segment, checked_propensity
from propensity.evaluation.pairs import Pairs
from propensity.evaluation.streaming_diagnostics import diagnose_sums
from propensity.evaluation.window_sums import KINDS, WindowSums, share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy.typing as npt

    from propensity.evaluation.diagnostics import Diagnostics

EXACT_PAIRS: Final = 20_000_000
"""Up to this many pairs `evaluate` is exact in half a GB beside them and half a minute; above, stream them."""

PAIRS_AT_ONCE: Final = 1 << 20
"""Bounds the temporary arrays of a block: some seven float64 arrays of as many pairs, 60 MB."""

BINNED_FIGURES: Final = (
    "ece_equal_mass",
    "micro_auc",
    "micro_average_precision",
    "macro_auc",
    "macro_average_precision",
    "top_decile_lift",
)


@dataclass(frozen=True)
class BinnedEvaluation:
    """An evaluation of which some figures come from bins.

    Attributes:
        evaluation: The figures.
        bounds: Segment -> figure of `BINNED_FIGURES` -> bound on its error, NaN where it isn't defined; the
            other figures are exact.
    """

    evaluation: Evaluation
    bounds: dict[str, dict[str, float]]


def evaluate_blocks(
    blocks: Iterable[tuple[npt.ArrayLike | csr_matrix, npt.ArrayLike, npt.ArrayLike | csr_matrix]],
    n_categories: int,
    *,
    training_label_counts: npt.ArrayLike | None = None,
    n_training_examples: int | None = None,
) -> BinnedEvaluation:
    """Compute the figures of `evaluate` over customers that come in blocks, in memory that doesn't grow.

    Choose it over `evaluate` above EXACT_PAIRS pairs. The order and size of blocks don't matter.

    Args:
        blocks: Labels, probabilities and repeat of some customers each, see `StreamingEvaluation.update`.
        n_categories: Columns of every block.
        training_label_counts: As for `evaluate`.
        n_training_examples: As for `evaluate`.

    Raises:
        InputError: As `StreamingEvaluation`.
    """
    streaming = StreamingEvaluation(
        n_categories, training_label_counts=training_label_counts, n_training_examples=n_training_examples
    )
    for labels, probabilities, repeat in blocks:
        streaming.update(labels, probabilities, repeat)
    return BinnedEvaluation(streaming.result(), streaming.bounds())


class StreamingEvaluation:
    """Sums and histograms of the pairs seen so far; `result` gives their figures at any time.

    Memory, whatever the number of customers: 16 KB a category and 4 MB, 37 MB at 2,000 categories, beside the
    temporary arrays of `update`, some 60 MB.
    """

    def __init__(
        self,
        n_categories: int,
        *,
        training_label_counts: npt.ArrayLike | None = None,
        n_training_examples: int | None = None,
    ) -> None:
        """Begin without a customer.

        Args:
            n_categories: Columns of every block.
            training_label_counts: As for `evaluate`.
            n_training_examples: As for `evaluate`.

        Raises:
            InputError: Counts of another length, or one of the two figures without the other.
        """
        propensity = checked_propensity(training_label_counts, n_training_examples, n_categories)
        self._sums = WindowSums(n_categories, propensity)

    def update(
        self,
        labels: npt.ArrayLike | csr_matrix,
        probabilities: npt.ArrayLike,
        repeat: npt.ArrayLike | csr_matrix,
    ) -> None:
        """Add some customers, none of whom was added before.

        Args:
            labels: bool or class, dense or CSR, (n_customers, n_categories).
            probabilities: Probability of a positive label in [0, 1], dense, (n_customers, n_categories).
            repeat: Whether the pair is one of the repeat segment, bool, dense or CSR, same shape.

        Raises:
            InputError: Shapes differ, or a probability is not a number in [0, 1]. The customers before the
                faulty ones of the block may have been added.
        """
        probability = np.asarray(probabilities)
        shape = (len(probability) if probability.ndim else 0, self._sums.n_categories)
        if not probability.shape == np.shape(labels) == np.shape(repeat) == shape:
            raise InputError(
                f"A block's labels, probabilities and repeat have shapes {np.shape(labels)}, {probability.shape} and "
                f"{np.shape(repeat)}; expected (n_customers, {self._sums.n_categories}) for all."
            )
        rows = max(1, PAIRS_AT_ONCE // max(1, self._sums.n_categories))
        for first in range(0, len(probability), rows):
            part = slice(first, first + rows)
            self._sums.add(Pairs.of(dense_rows(labels, part), probability[part], dense_rows(repeat, part)))

    def result(self) -> Evaluation:
        """Return the figures of the customers added so far; NaN where one isn't defined."""
        segments = {segment: self._segment(segment) for segment in KINDS}
        return Evaluation(self._sums.households, self._sums.n_categories, **segments)

    def diagnose(self, categories: Sequence[str]) -> Diagnostics:
        """Return the diagnostics of the customers added so far, see `diagnose_sums`; names in column order."""
        return diagnose_sums(self._sums, categories)

    def bounds(self) -> dict[str, dict[str, float]]:
        """Return segment -> figure of `BINNED_FIGURES` -> bound on the error of `result`'s."""
        return {segment: {figure: each.bound for figure, each in self._binned(segment).items()} for segment in KINDS}

    def _segment(self, segment: str) -> Segment:
        sums, kinds = self._sums, list(KINDS[segment])
        n_pairs, positives = int(sums.pairs[kinds].sum()), sums.width_pairs[kinds[1::2]].sum(axis=0)
        gap = sums.width_probability[kinds].sum(axis=0) - positives
        at_10 = {f"{name}_at_{LIST_LENGTH}": mean for name, mean in sums.lists[segment].at(LIST_LENGTH).items()}
        figures: dict[str, Any] = {
            "pairs": n_pairs,
            "positives": int(positives.sum()),
            "households_with_positive": sums.lists[segment].customers,
            "macro_categories": len(sums.macro_categories(segment)),
            "log_loss": share(float(sums.loss[kinds].sum()), n_pairs),
            "brier": share(float(sums.square[kinds].sum()), n_pairs),
            "ece": share(float(np.abs(gap).sum()), n_pairs),
            **at_10,
            "propensity_scored_precision_at_10": sums.lists[segment].propensity_scored_precision(),
            **{figure: each.value for figure, each in self._binned(segment).items()},
        }
        return Segment(**figures)

    def _binned(self, segment: str) -> dict[str, binned.Bounded]:
        sums = self._sums
        pooled = sums.bins(segment)
        of_category = [sums.category_bins(segment, column) for column in sums.macro_categories(segment)]
        return {
            "ece_equal_mass": binned.equal_mass_calibration_error(*pooled, *sums.bin_probabilities(segment)),
            "micro_auc": binned.roc_auc(*pooled),
            "micro_average_precision": binned.average_precision(*pooled),
            "macro_auc": _mean(binned.roc_auc, of_category),
            "macro_average_precision": _mean(binned.average_precision, of_category),
            "top_decile_lift": _mean(binned.top_decile_lift, of_category),
        }


def dense_rows(matrix: Any, rows: slice) -> npt.NDArray[Any]:
    """Return some rows of a dense or sparse matrix as a dense array."""
    return np.asarray(matrix.tocsr()[rows].toarray() if issparse(matrix) else np.asarray(matrix)[rows])


def _mean(
    figure: Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64]], binned.Bounded],
    of_category: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]],
) -> binned.Bounded:
    """Return the mean over categories; errors that can't exceed their bounds have a mean that can't exceed theirs."""
    if not of_category:
        return binned.Bounded(math.nan, math.nan)
    each = [figure(positives, negatives) for positives, negatives in of_category]
    return binned.Bounded(float(np.mean([one.value for one in each])), float(np.mean([one.bound for one in each])))
