"""Measuring models on a window: exact up to EXACT_PAIRS pairs, from sums and bins above."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from propensity.evaluation.bootstrap import Interval, differences_from_each
from propensity.evaluation.streaming import EXACT_PAIRS, BinnedEvaluation, StreamingEvaluation
from propensity.evaluation.streaming_bootstrap import StreamingDifferences

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from propensity.evaluation.diagnostics import Diagnostics
    from propensity.evaluation.protocol import HoldoutWindow

SUMMED: Final = ("log_loss", "brier", "ece", "ndcg_at_10")
"""Figures whose draws are sums over customers: 1,000 draws take a fifth of a second on 738,000 pairs."""
RANKED: Final = ("micro_auc", "macro_auc")
"""Figures whose draws go through all pairs."""
RANKED_DRAWS: Final = 200
"""Draws of those: 1,000 would take seven seconds a baseline on 738,000 pairs."""
RANKED_PAIRS: Final = 4_000_000
"""Pairs up to which they are made: on 10 million they take minutes, and say that as many pairs leave little to chance.
"""


def is_large(window: HoldoutWindow) -> bool:
    """Return whether the window has more pairs than are measured exactly."""
    return window.labels.size > EXACT_PAIRS


def measure(window: HoldoutWindow, probabilities: npt.NDArray[np.float32]) -> BinnedEvaluation:
    """Return a model's figures; those of a large window that come from bins have bounds, an exact one has none.

    Args:
        window: The pairs.
        probabilities: The model's, (n_customers, n_categories).
    """
    if not is_large(window):
        return BinnedEvaluation(window.evaluate(probabilities), {})
    streaming = _streamed(window, probabilities)
    return BinnedEvaluation(streaming.result(), streaming.bounds())


def diagnose(window: HoldoutWindow, probabilities: npt.NDArray[np.float32]) -> Diagnostics:
    """Return a model's curves and per-category figures.

    Args:
        window: The pairs.
        probabilities: The model's, (n_customers, n_categories).
    """
    if not is_large(window):
        return window.diagnose(probabilities)
    return _streamed(window, probabilities).diagnose(window.categories)


def differences_on(
    window: HoldoutWindow, probabilities: npt.NDArray[np.float32], rivals: Mapping[str, npt.NDArray[np.float32]]
) -> dict[str, dict[str, Interval]]:
    """Return rival -> figure -> the model's figure less the rival's, with its paired 95 % bootstrap interval.

    Figures are SUMMED, `log_loss_of_repeat` and `log_loss_of_explore` where there are such pairs, and, up to
    RANKED_PAIRS, RANKED.

    Args:
        window: The pairs.
        probabilities: The model's, (n_customers, n_categories).
        rivals: Theirs by name, same shape.
    """
    compare = _differences_of_sums if is_large(window) else _exact_differences
    found = compare(window, probabilities, rivals, None, SUMMED)
    for segment, mask in (("repeat", window.repeat), ("explore", ~window.repeat)):
        if mask.any():
            only = compare(window, probabilities, rivals, mask, ("log_loss",))
            for name, figures in only.items():
                found[name][f"log_loss_of_{segment}"] = figures["log_loss"]
    if is_large(window) or window.labels.size > RANKED_PAIRS:
        return found
    ranked = differences_from_each(window.labels, probabilities, rivals, figures=RANKED, resamples=RANKED_DRAWS)
    return {name: figures | ranked[name] for name, figures in found.items()}


def _exact_differences(
    window: HoldoutWindow,
    probabilities: npt.NDArray[np.float32],
    rivals: Mapping[str, npt.NDArray[np.float32]],
    mask: npt.NDArray[np.bool_] | None,
    figures: tuple[str, ...],
) -> dict[str, dict[str, Interval]]:
    return differences_from_each(window.labels, probabilities, rivals, mask, figures=figures)


def _differences_of_sums(
    window: HoldoutWindow,
    probabilities: npt.NDArray[np.float32],
    rivals: Mapping[str, npt.NDArray[np.float32]],
    mask: npt.NDArray[np.bool_] | None,
    figures: tuple[str, ...],
) -> dict[str, dict[str, Interval]]:
    found = {}
    for name, rival in rivals.items():
        streaming = StreamingDifferences(figures=figures)
        streaming.update(window.labels, probabilities, rival, mask)
        found[name] = streaming.result()
    return found


def _streamed(window: HoldoutWindow, probabilities: npt.NDArray[np.float32]) -> StreamingEvaluation:
    streaming = StreamingEvaluation(
        len(window.categories),
        training_label_counts=window.training_label_counts if window.n_training_examples else None,
        n_training_examples=window.n_training_examples or None,
    )
    streaming.update(window.labels, probabilities, window.repeat)
    return streaming
