"""Calibration: from margins to probabilities that mean what they say. `training/calibration.py` fits it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    import numpy.typing as npt

MARGIN_LIMIT: Final = 13.0
"""Calibrated margins are clipped to ± this, so that a probability is never 0 or 1, also in float32."""


@dataclass(frozen=True)
class Calibration:
    """`slope * margin + intercept + offset`, for pairs without and with history of their own.

    Margins are log-odds of class k against class 0. For K = 2 this is Platt scaling (Platt 1999), for K > 2
    vector scaling (Guo et al. 2017, section 4.2) of the margins; then each category's own offset.

    Attributes:
        slope: float64, (2, K - 1); row 0 for unseen pairs, row 1 for seen ones.
        intercept: float64, (2, K - 1).
        offset: float32, (2, K - 1, n_categories).
    """

    slope: npt.NDArray[np.float64]
    intercept: npt.NDArray[np.float64]
    offset: npt.NDArray[np.float32]

    @classmethod
    def identity(cls, n_classes: int, n_categories: int) -> Calibration:
        """Leave margins as they are."""
        width = n_classes - 1
        return cls(np.ones((2, width)), np.zeros((2, width)), np.zeros((2, width, n_categories), np.float32))

    def for_categories(self, own: Sequence[Hashable], wanted: Sequence[Hashable]) -> Calibration:
        """Return the calibration for a model of other categories: the offset of one that is new is 0.

        Args:
            own: What names the categories this calibration has.
            wanted: What names those to have, in order.
        """
        position = {name: number for number, name in enumerate(own)}
        known = np.array([name in position for name in wanted], bool)
        offset = np.zeros((*self.offset.shape[:2], len(wanted)), np.float32)
        offset[:, :, known] = self.offset[:, :, [position[name] for name in wanted if name in position]]
        return replace(self, offset=offset)

    def slope_and_shift(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return the slope, float32, (2, K - 1), and intercept + offset, float32, (2, K - 1, n_categories)."""
        slope, intercept = self.slope.astype(np.float32), self.intercept.astype(np.float32)
        return slope, intercept[:, :, None] + self.offset

    def apply(
        self,
        margins: npt.NDArray[np.float32],
        pair_row: npt.NDArray[np.int32],
        pair_position: npt.NDArray[np.int32],
    ) -> npt.NDArray[np.float32]:
        """Return margins, float32, (n_rows, K - 1, n_categories), calibrated; the pairs named are seen."""
        slope, shift = self.slope_and_shift()
        calibrated: npt.NDArray[np.float32] = margins * slope[0][:, None] + shift[0]
        seen = margins[pair_row, :, pair_position] * slope[1] + shift[1].T[pair_position]
        calibrated[pair_row, :, pair_position] = seen
        np.clip(calibrated, -MARGIN_LIMIT, MARGIN_LIMIT, out=calibrated)
        return calibrated

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {
            "kind": "slope * margin + intercept + the category's offset, per class above 0",
            **{
                name: {
                    "slope": self.slope[group].tolist(),
                    "intercept": self.intercept[group].tolist(),
                    "offset": self.offset[group].tolist(),
                }
                for group, name in enumerate(("unseen", "seen"))
            },
        }

    @classmethod
    def from_json(cls, described: dict[str, Any]) -> Calibration:
        """Read what `to_json` returned; KeyError, TypeError or ValueError if it's something else."""
        groups = (described["unseen"], described["seen"])
        return cls(
            np.array([group["slope"] for group in groups], np.float64),
            np.array([group["intercept"] for group in groups], np.float64),
            np.array([group["offset"] for group in groups], np.float32),
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
    return at_least(margins)[:, 0]


def at_least(margins: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Turn margins (n, K - 1, n_categories) into the probabilities of class k or a higher one, k = 1 .. K - 1.

    The first is the propensity, the probability of a class above 0; same shape as the margins.
    """
    if margins.shape[1] == 1:
        odds = np.exp(-margins)
        odds += 1.0
        return np.reciprocal(odds, out=odds)
    classes = class_probabilities(margins)
    reached = np.cumsum(classes[:, :0:-1], axis=1, dtype=np.float32)[:, ::-1]
    # What is rounded away must not leave a class likelier than itself and the higher ones together, or than 1.
    reached[:, 0] = np.minimum(1.0 - classes[:, 0], 1.0)
    np.minimum.accumulate(reached, axis=1, out=reached)
    return np.ascontiguousarray(reached)
