"""The product of sparse rows and a weight: the first layer of every net, in training and in scoring.

Its arithmetic is little; what takes time is fetching weight rows, most of which no cache holds. So those of the next
entries are on their way while the last ones are added up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from propensity.compiled import compiled
from propensity.models.bfloat16 import widened
from propensity.models.prefetch import prefetch

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Weights = npt.NDArray[np.float32] | npt.NDArray[np.uint16]
    Ints = npt.NDArray[np.int32]

LINE: Final = 16
"""Weights in a cache line, of 32 bits."""
AHEAD: Final = 256
"""Weights of a row that are asked for ahead of time; what follows them the processor foresees."""


@compiled
def add_product(
    indptr: Ints, indices: Ints, values: Floats, weight: Weights, out: Floats, low: int, high: int, first: int
) -> None:
    """Add rows `low` to `high` of CSR @ weight to `out`, whose row 0 is row `first` of the CSR.

    Each sum is taken in the order of the row's entries, whichever rows come along.

    Args:
        indptr: CSR, (n_rows + 1,).
        indices: CSR.
        values: CSR.
        weight: (n_in, n_out), C order: float32, or bfloat16's bits.
        out: (high - first or more, n_out); changed.
        low: First row.
        high: Row after the last.
        first: See above.
    """
    ahead = min(weight.shape[1], AHEAD)
    for row in range(low, high):
        o, start, stop = row - first, indptr[row], indptr[row + 1]
        whole = start + (stop - start) // 8 * 8
        # Eight at a time: `out` is read and written once for them, and as many weight rows are on their way at once.
        for i in range(start, whole, 8):
            for next_one in range(min(i + 8, len(indices)), min(i + 16, len(indices))):  # of the next row, too
                for j in range(0, ahead, LINE):
                    prefetch(weight, indices[next_one], j)
            a, b, c, d, e, f, g, h = (
                values[i], values[i + 1], values[i + 2], values[i + 3],
                values[i + 4], values[i + 5], values[i + 6], values[i + 7],
            )  # fmt: skip
            of_a, of_b, of_c, of_d, of_e, of_f, of_g, of_h = (
                indices[i], indices[i + 1], indices[i + 2], indices[i + 3],
                indices[i + 4], indices[i + 5], indices[i + 6], indices[i + 7],
            )  # fmt: skip
            for j in range(weight.shape[1]):
                out[o, j] = (
                    out[o, j] + a * widened(weight[of_a, j]) + b * widened(weight[of_b, j])
                    + c * widened(weight[of_c, j]) + d * widened(weight[of_d, j]) + e * widened(weight[of_e, j])
                    + f * widened(weight[of_f, j]) + g * widened(weight[of_g, j]) + h * widened(weight[of_h, j])
                )  # fmt: skip
        for i in range(whole, stop):
            value, own = values[i], indices[i]
            for j in range(weight.shape[1]):
                out[o, j] += value * widened(weight[own, j])
