"""A trained model as a value: what scoring needs, and nothing of how it was trained."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from propensity.models.forward import forwards, mean_margins

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

    from propensity.models.calibration import Calibration
    from propensity.models.encoded_rows import EncodedRows
    from propensity.models.encoding import Encoder
    from propensity.models.forward import FeedForward


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

    def margins(
        self,
        rows: EncodedRows,
        prior: npt.NDArray[np.float32],
        as_of_position: npt.NDArray[np.int32],
    ) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the margins before calibration, block after block; arguments as for `FeedForward.margins`."""
        return mean_margins(self._forwards, rows, prior, as_of_position)

    @cached_property
    def _forwards(self) -> tuple[FeedForward, ...]:
        return forwards(self.network, self.nets, self.n_classes)
