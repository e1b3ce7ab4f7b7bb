"""Calibration: from margins to probabilities that mean what they say. `training/calibration.py` fits it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

MARGIN_LIMIT: Final = 13.0
"""Calibrated margins are clipped to ± this, so that a probability is never 0 or 1, also in float32."""


@dataclass(frozen=True)
class Calibration:
    """`slope * margin + intercept`, for pairs without and with history of their own.

    Margins are log-odds of class k against class 0. For K = 2 this is Platt scaling (Platt 1999), for K > 2
    vector scaling (Guo et al. 2017, section 4.2) of the margins.

    Attributes:
        slope: float64, (2, K - 1); row 0 for unseen pairs, row 1 for seen ones.
        intercept: float64, (2, K - 1).
    """

    slope: npt.NDArray[np.float64]
    intercept: npt.NDArray[np.float64]

    @classmethod
    def identity(cls, n_classes: int) -> Calibration:
        """Leave margins as they are."""
        return cls(np.ones((2, n_classes - 1)), np.zeros((2, n_classes - 1)))

    def apply(
        self,
        margins: npt.NDArray[np.float32],
        pair_row: npt.NDArray[np.int32],
        pair_position: npt.NDArray[np.int32],
    ) -> npt.NDArray[np.float32]:
        """Return margins, float32, (n_rows, K - 1, n_categories), calibrated; the pairs named are seen."""
        slope, intercept = self.slope.astype(np.float32), self.intercept.astype(np.float32)
        calibrated: npt.NDArray[np.float32] = margins * slope[0][:, None] + intercept[0][:, None]
        calibrated[pair_row, :, pair_position] = margins[pair_row, :, pair_position] * slope[1] + intercept[1]
        np.clip(calibrated, -MARGIN_LIMIT, MARGIN_LIMIT, out=calibrated)
        return calibrated

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {
            "kind": "slope * margin + intercept per class above 0",
            "unseen": {"slope": self.slope[0].tolist(), "intercept": self.intercept[0].tolist()},
            "seen": {"slope": self.slope[1].tolist(), "intercept": self.intercept[1].tolist()},
        }

    @classmethod
    def from_json(cls, described: dict[str, Any]) -> Calibration:
        """Read what `to_json` returned; KeyError, TypeError or ValueError if it's something else."""
        groups = (described["unseen"], described["seen"])
        return cls(
            np.array([group["slope"] for group in groups], np.float64),
            np.array([group["intercept"] for group in groups], np.float64),
        )


def class_probabilities(margins: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Turn margins (n, K - 1, n_categories) into probabilities of classes 0..K-1, (n, K, n_categories)."""
    logits = np.concatenate((np.zeros_like(margins[:, :1]), margins), axis=1)
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


def propensity(margins: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Turn margins (n, K - 1, n_categories) into the probability of a class above 0, (n, n_categories)."""
    if margins.shape[1] == 1:
        odds = np.exp(-margins[:, 0])
        odds += 1.0
        return np.reciprocal(odds, out=odds)
    return 1.0 - class_probabilities(margins)[:, 0]
