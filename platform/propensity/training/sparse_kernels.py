"""Compiled steps of optimizers on a sparse layer's weight: only the rows that a batch touches.

Each function works on a range of columns and releases the GIL, so that threads share a batch. Whichever range a weight
falls into, its sum is taken in the same order: the number of threads doesn't change a bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from propensity.compiled import compiled

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int32]


@compiled
def _sum_of_rows(places: Ints, values: Floats, matrix: Floats, low: int, high: int, total: Floats) -> None:
    """Write the sum over k from `low` to `high` of values[k] matrix[places[k]] into `total`.

    Four rows at a time: `total` is read and written once for them.
    """
    total[:] = np.float32(0.0)
    n = low + (high - low) // 4 * 4
    for k in range(low, n, 4):
        a, b, c, d = values[k], values[k + 1], values[k + 2], values[k + 3]
        of_a, of_b, of_c, of_d = matrix[places[k]], matrix[places[k + 1]], matrix[places[k + 2]], matrix[places[k + 3]]
        for j in range(total.shape[0]):
            total[j] = total[j] + a * of_a[j] + b * of_b[j] + c * of_c[j] + d * of_d[j]
    for k in range(n, high):
        value, own = values[k], matrix[places[k]]
        for j in range(total.shape[0]):
            total[j] += value * own[j]


@compiled
def sgd(
    columns: Ints, indptr: Ints, rows: Ints, values: Floats, gradient: Floats, weight: Floats,
    rate: np.float32, decay: np.float32, low: int, high: int,
) -> None:  # fmt: skip
    """Step by w -= rate (g + decay w) on the rows of `weight` that `columns[low:high]` names.

    g is the column's row of CSR^T @ gradient, taken from the batch by columns (CSC): it is never written to memory.

    Args:
        columns: Which rows of `weight` to move.
        indptr: CSC, (n_in + 1,).
        rows: CSC, rows of the batch.
        values: CSC.
        gradient: Of the loss by the layer's output, (n_rows, n_out).
        weight: (n_in, n_out); changed.
        rate: Learning rate.
        decay: L2 penalty.
        low: First position in `columns`.
        high: Position after the last.
    """
    total = np.empty(weight.shape[1], np.float32)
    for position in range(low, high):
        column = columns[position]
        _sum_of_rows(rows, values, gradient, indptr[column], indptr[column + 1], total)
        own = weight[column]
        for j in range(total.shape[0]):
            own[j] -= rate * (total[j] + decay * own[j])


@compiled
def adagrad(
    columns: Ints, indptr: Ints, rows: Ints, values: Floats, gradient: Floats, weight: Floats, squares: Floats,
    rate: np.float32, decay: np.float32, low: int, high: int,
) -> None:  # fmt: skip
    """Step by AdaGrad (Duchi et al. 2011), as MXNet writes it: s += g^2, w -= rate (g / sqrt(s + 1e-7) + decay w).

    Arguments as for `sgd`; `squares`, (n_in, n_out), is changed.
    """
    total = np.empty(weight.shape[1], np.float32)
    epsilon = np.float32(1e-7)
    for position in range(low, high):
        column = columns[position]
        _sum_of_rows(rows, values, gradient, indptr[column], indptr[column + 1], total)
        own, square = weight[column], squares[column]
        for j in range(total.shape[0]):
            square[j] += total[j] * total[j]
            own[j] -= rate * (total[j] / np.sqrt(square[j] + epsilon) + decay * own[j])


@compiled
def adam(
    columns: Ints, indptr: Ints, rows: Ints, values: Floats, gradient: Floats, weight: Floats, mean: Floats,
    square: Floats, rate: np.float32, decay: np.float32, low: int, high: int,
) -> None:  # fmt: skip
    """Step by Adam (Kingma and Ba 2015), as MXNet writes it: g' = g + decay w, w -= rate m / (sqrt(v) + 1e-8).

    Arguments as for `sgd`; `mean` and `square`, the moments with decay .9 and .999, (n_in, n_out), are changed. `rate`
    has the correction of the moments' bias in it. A row that no column names stays as it is, its moments too: "lazy".
    """
    total = np.empty(weight.shape[1], np.float32)
    epsilon = np.float32(1e-8)
    first, second = np.float32(0.9), np.float32(0.999)
    first_rest, second_rest = np.float32(1.0) - first, np.float32(1.0) - second
    for position in range(low, high):
        column = columns[position]
        _sum_of_rows(rows, values, gradient, indptr[column], indptr[column + 1], total)
        own, m, v = weight[column], mean[column], square[column]
        for j in range(total.shape[0]):
            g = total[j] + decay * own[j]
            m[j] = first * m[j] + first_rest * g
            v[j] = second * v[j] + second_rest * g * g
            own[j] -= rate * m[j] / (np.sqrt(v[j]) + epsilon)
