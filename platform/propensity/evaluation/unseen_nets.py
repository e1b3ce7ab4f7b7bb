"""Which of a model's nets has not seen a label window, and what it says there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from propensity.evaluation import metrics
from propensity.evaluation.cross_fitting import cross_fitted
from propensity.models.gate import Quality
from propensity.scoring.scorer import Scorer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from propensity.evaluation.protocol import HoldoutWindow
    from propensity.models.artifact import Artifact
    from propensity.models.model import Model
    from propensity.training.examples import Examples


@dataclass(frozen=True)
class UnseenNet:
    """A net that may be judged on a window.

    Attributes:
        net: `kept`, the one that scores, or `validated`, the one before the refit.
        model: The net.
        honest_calibration: Its own calibration has not seen the window either.
    """

    net: Literal["kept", "validated"]
    model: Model
    honest_calibration: bool


def unseen_net(artifact: Artifact, window_as_of: datetime) -> UnseenNet | None:
    """Return the kept net if every label window it learned from had ended by `window_as_of`, else the validated one if
    that holds for it, else None. Read-only.

    Raises:
        ArtifactError: The validated net is damaged.
    """
    if artifact.metadata.training_window[1] <= window_as_of:
        return UnseenNet("kept", artifact.model, honest_calibration=True)
    validated = artifact.validated_artifact
    if validated is not None and validated.metadata.training_window[1] <= window_as_of:
        # It was calibrated on the window after its training, which may be this one or overlap it.
        return UnseenNet("validated", validated.model, honest_calibration=False)
    return None


def scores_on(
    window: HoldoutWindow, examples: Examples, net: UnseenNet, *, own_calibration: bool
) -> npt.NDArray[np.float32]:
    """Return a net's propensities in the window's rows and columns, float32, (n_customers, n_categories).

    Args:
        window: The pairs.
        examples: The window's rows, with labels.
        net: The net.
        own_calibration: Take the calibration that it carries, instead of one cross-fitted on the window.
    """
    model = net.model
    scores = Scorer(model).score_examples(examples) if own_calibration else cross_fitted(model, examples)
    return window.align(scores, model.encoder.category_index, model.unseen_category_prior)


def quality_of(window: HoldoutWindow, probabilities: npt.NDArray[np.float32]) -> Quality:
    """Return the figures that the gate looks at."""
    return Quality(
        log_loss=metrics.log_loss(window.labels, probabilities),
        ece=metrics.expected_calibration_error(window.labels, probabilities),
        micro_auc=metrics.micro_auc(window.labels, probabilities),
        macro_auc=metrics.macro_auc(window.labels, probabilities),
    )
