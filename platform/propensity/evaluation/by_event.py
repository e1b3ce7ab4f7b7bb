"""Figures of each event type beyond the first, where labels have more classes than two.

The figures of the protocol are those of a class above 0, any of the event types. A model may tell well who acts and
badly who buys, so each further event type gets the same figures for the probability of that one or a higher class.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from propensity.evaluation.measuring import measure
from propensity.evaluation.protocol import HoldoutWindow

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from propensity.evaluation.evaluation import Evaluation
    from propensity.features.dictionary import FeatureDictionary
    from propensity.features.labels import LabelCounts
    from propensity.training.examples import Examples

NET: Final = "net"
SHARES: Final = "training_shares"
"""The rival here: each category's share of the training rows that reached the class."""
ORACLE: Final = "oracle"


def evaluate_by_event(
    test: Examples,
    training: LabelCounts,
    dictionary: FeatureDictionary,
    categories: Sequence[str],
    *,
    event_types: Sequence[str],
    reached: npt.NDArray[np.float32],
    category_index: npt.NDArray[np.int32],
    prior: float,
    truth: npt.NDArray[np.float32] | None,
) -> dict[str, dict[str, Evaluation]]:
    """Return event type -> NET, SHARES and, where the truth is known, ORACLE -> figures; empty for two classes.

    Args:
        test: The held-out rows, with labels.
        training: Labels of the rows the model was trained on.
        dictionary: Describes the columns of the features.
        categories: Names of the evaluated categories.
        event_types: Of the labels, class 1 first.
        reached: The net's probabilities of class k or a higher one, (n_customers, K - 1, n_known_categories).
        category_index: Column of each of the net's categories, (n_known_categories,).
        prior: Propensity of a category the net doesn't know: of a class above 0.
        truth: True probabilities, (n_customers, K - 1, n_categories), or None.
    """
    found = {}
    for above, event_type in enumerate(event_types[1:], start=1):
        window = HoldoutWindow.of_rows(
            _at_least(test, above + 1), (training.at_least[above], training.rows), dictionary, categories
        )
        share = window.training_label_counts / max(1, window.n_training_examples)
        scores = {
            # A category nobody knows is as likely to get so far as it is to be acted in at all, at most.
            NET: window.align(reached[:, above], category_index, prior),
            SHARES: np.broadcast_to(share.astype(np.float32), window.labels.shape),
        }
        if truth is not None:
            scores[ORACLE] = truth[:, above]
        found[event_type] = {name: measure(window, each).evaluation for name, each in scores.items()}
    return found


def _at_least(examples: Examples, least: int) -> Examples:
    """Return the examples with labels of two classes: `least` or higher, and lower."""
    labels = examples.labels
    return examples if labels is None else replace(examples, labels=(labels >= least).astype(np.int8))
