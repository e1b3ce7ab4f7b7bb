"""All figures of one model on one test window."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from propensity.errors import InputError
from propensity.evaluation import metrics
from propensity.evaluation.pairs import Pairs
from propensity.evaluation.ranking import TopLists, label_propensity, top_decile_lift

if TYPE_CHECKING:
    import numpy.typing as npt

LIST_LENGTH: Final = 10
"""k of the ranking figures."""


@dataclass(frozen=True)
class Segment:
    """Figures over some of the pairs; one that isn't defined on them is NaN.

    Attributes:
        pairs: Pairs (customer, category) counted.
        positives: Positives among them.
        households_with_positive: Customers with at least one of these; the ranking figures average over them.
        macro_categories: Categories with at least 20 of these and a negative; the macro figures average over
            them.
        log_loss: In nats per pair.
        brier: Mean squared error.
        ece: Expected calibration error, 15 bins of equal width.
        ece_equal_mass: The same, 15 bins of equal mass.
        micro_auc: ROC AUC over all pairs pooled.
        macro_auc: Mean ROC AUC of the macro categories.
        micro_average_precision: Over all pairs pooled.
        macro_average_precision: Mean average precision of the macro categories.
        ndcg_at_10: Over the segment's pairs only, as the next three.
        recall_at_10: Share of a customer's positives among the first 10.
        precision_at_10: Share of the first 10 that are positive.
        propensity_scored_precision_at_10: NaN where no training counts were given.
        top_decile_lift: Mean over the macro categories.
    """

    pairs: int
    positives: int
    households_with_positive: int
    macro_categories: int
    log_loss: float
    brier: float
    ece: float
    ece_equal_mass: float
    micro_auc: float
    macro_auc: float
    micro_average_precision: float
    macro_average_precision: float
    ndcg_at_10: float
    recall_at_10: float
    precision_at_10: float
    propensity_scored_precision_at_10: float
    top_decile_lift: float


@dataclass(frozen=True)
class Evaluation:
    """Figures of one model on one test window.

    Attributes:
        households: Rows, customers known at the as_of.
        categories: Columns.
        all: Over all pairs.
        repeat: Over pairs whose customer bought the category in the 365 days before the as_of.
        explore: Over the others.
    """

    households: int
    categories: int
    all: Segment
    repeat: Segment
    explore: Segment

    def to_dict(self) -> dict[str, Any]:
        """Return nested dicts of int, float and None, ready for JSON: a figure that isn't defined is None."""
        nested: dict[str, Any] = _without_nan(asdict(self))
        return nested

    @classmethod
    def from_dict(cls, figures: dict[str, Any]) -> Evaluation:
        """Read what `to_dict` returned; a figure that an older version didn't write yet is NaN."""

        def segment(name: str) -> Segment:
            written = figures[name]
            values: dict[str, Any] = {
                field.name: math.nan if written.get(field.name) is None else written[field.name]
                for field in fields(Segment)
            }
            return Segment(**values)

        return cls(figures["households"], figures["categories"], segment("all"), segment("repeat"), segment("explore"))


def evaluate(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    repeat: npt.ArrayLike,
    *,
    training_label_counts: npt.ArrayLike | None = None,
    n_training_examples: int | None = None,
) -> Evaluation:
    """Compute every figure of the protocol for one model, over all, repeat and explore pairs.

    The arrays are dense: 2,452 x 301 pairs take about a second and 50 MB; memory grows with the pairs.

    Args:
        labels: bool or class, (n_customers, n_categories).
        probabilities: Probability of a positive label in [0, 1], float32, (n_customers, n_categories).
        repeat: Whether the customer bought the category in the 365 days before, bool, (n_customers,
            n_categories).
        training_label_counts: Positives of each category in the training rows, (n_categories,), for
            propensity-scored precision; None leaves that NaN.
        n_training_examples: Training rows; goes with `training_label_counts`.

    Raises:
        InputError: Shapes differ, a probability is not a number in [0, 1], or one of the two training figures
            is given without the other.
    """
    every = Pairs.of(labels, probabilities)
    repeated = np.asarray(repeat)
    if repeated.shape != every.positive.shape or repeated.dtype != np.bool_:
        raise InputError(f"repeat must be bool with the labels' shape {every.positive.shape}.")
    propensity = checked_propensity(training_label_counts, n_training_examples, every.positive.shape[1])
    return Evaluation(
        households=every.positive.shape[0],
        categories=every.positive.shape[1],
        all=_segment(every, propensity),
        repeat=_segment(Pairs(every.positive, every.probability, repeated), propensity),
        explore=_segment(Pairs(every.positive, every.probability, ~repeated), propensity),
    )


def checked_propensity(
    counts: npt.ArrayLike | None, n_examples: int | None, n_categories: int
) -> npt.NDArray[np.float64] | None:
    """Return the label propensities of an evaluation, (n_categories,), None without counts.

    Raises:
        InputError: Counts of another length, or one of the two figures without the other.
    """
    if (counts is None) != (n_examples is None):
        raise InputError("training_label_counts and n_training_examples go together: give both or neither.")
    if counts is None or n_examples is None:
        return None
    propensity = label_propensity(counts, n_examples)
    if propensity.shape != (n_categories,):
        raise InputError(
            f"training_label_counts have shape {propensity.shape}, but there are {n_categories} categories."
        )
    return propensity


def _segment(pairs: Pairs, propensity: npt.NDArray[np.float64] | None) -> Segment:
    arrays = (pairs.positive, pairs.probability, pairs.mask)
    lists = TopLists.of(pairs, LIST_LENGTH)
    return Segment(
        pairs=pairs.positive.size if pairs.mask is None else int(np.count_nonzero(pairs.mask)),
        positives=int(np.count_nonzero(pairs.counted_positive())),
        households_with_positive=len(lists.n_positives),
        macro_categories=len(pairs.macro_categories()),
        log_loss=metrics.log_loss(*arrays),
        brier=metrics.brier(*arrays),
        ece=metrics.expected_calibration_error(*arrays),
        ece_equal_mass=metrics.expected_calibration_error(*arrays, bins="equal_mass"),
        micro_auc=metrics.micro_auc(*arrays),
        macro_auc=metrics.macro_auc(*arrays),
        micro_average_precision=metrics.micro_average_precision(*arrays),
        macro_average_precision=metrics.macro_average_precision(*arrays),
        ndcg_at_10=lists.ndcg(),
        recall_at_10=lists.recall(),
        precision_at_10=lists.precision(),
        propensity_scored_precision_at_10=(
            math.nan if propensity is None else lists.propensity_scored_precision(propensity)
        ),
        top_decile_lift=top_decile_lift(*arrays),
    )


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
