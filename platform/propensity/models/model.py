"""A trained model as a value: what scoring needs, and nothing of how it was trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from propensity.models.calibration import Calibration
    from propensity.models.encoding import Encoder


@dataclass(frozen=True)
class Model:
    """Encoder, weights and calibration of one net.

    Attributes:
        network: Key of training.networks.NETWORKS and models.forward.FORWARDS.
        n_classes: K.
        encoder: Fitted on the training rows.
        weights: Parameters by their path in the net, float32.
        calibration: Fitted on the validation window.
        popularity_default: Each category's popularity at the newest training as_of, for scoring without a
            newer one; float32, (n_categories,) in the encoder's category order.
        unseen_category_prior: Propensity given to a category the model doesn't know.
    """

    network: str
    n_classes: int
    encoder: Encoder
    weights: dict[str, npt.NDArray[np.float32]]
    calibration: Calibration
    popularity_default: npt.NDArray[np.float32]
    unseen_category_prior: float
