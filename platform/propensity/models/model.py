"""A trained model as a value: what scoring needs, and nothing of how it was trained."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from propensity.models.forward_pass import ForwardPass

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from propensity.models.bfloat16 import WeightFormat
    from propensity.models.calibration import Calibration
    from propensity.models.encoding import Encoder


@dataclass(frozen=True)
class Model:
    """Encoder, the weights of its nets and calibration.

    Attributes:
        network: Key of training.networks.NETWORKS and models.forward.FORWARDS.
        n_classes: K.
        encoder: Fitted on the training rows.
        nets: Each net's parameters by their path in it, float32. They differ in their seed; the margins are the mean of
            theirs (deep ensembles: Lakshminarayanan, Pritzel and Blundell 2017).
        calibration: Fitted on the validation window.
        popularity_default: Each category's popularity at the newest training as_of, for scoring without a
            newer one; float32, (n_categories,) in the encoder's category order.
        unseen_category_prior: Propensity given to a category the model doesn't know.
    """

    network: str
    n_classes: int
    encoder: Encoder
    nets: tuple[dict[str, npt.NDArray[np.float32]], ...]
    calibration: Calibration
    popularity_default: npt.NDArray[np.float32]
    unseen_category_prior: float

    @cached_property
    def forward(self) -> ForwardPass:
        """Its forward pass, opened once."""
        return ForwardPass(self.network, self.nets, self.n_classes)

    def forward_in(self, sparse_format: WeightFormat) -> ForwardPass:
        """Return its forward pass with the weights of sparse layers in a format, rounding a copy of them if need be."""
        if sparse_format == "float32":
            return self.forward
        return ForwardPass(self.network, self.nets, self.n_classes, sparse_format)
