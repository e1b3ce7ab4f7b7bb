"""The highest scores of each row, in one pass over them: sorting or partitioning takes longer than scoring itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from propensity.compiled import compiled

if TYPE_CHECKING:
    import numpy.typing as npt


def highest(scores: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.int64]:
    """Return the positions of each row's k highest scores, (n, k), highest first, equals by rising position.

    Args:
        scores: float32, (n, N).
        k: From 1 to N.
    """
    found = np.empty((len(scores), k), np.int64)
    _write_highest(scores, found)
    return found


@compiled
def _write_highest(scores: npt.NDArray[np.float32], found: npt.NDArray[np.int64]) -> None:
    k = found.shape[1]
    best = np.empty(k, scores.dtype)  # falling
    for row in range(scores.shape[0]):
        for n in range(scores.shape[1]):
            value = scores[row, n]
            if n >= k and value <= best[k - 1]:
                continue
            place = min(n, k - 1)
            while place > 0 and value > best[place - 1]:
                best[place], found[row, place] = best[place - 1], found[row, place - 1]
                place -= 1
            best[place], found[row, place] = value, n
