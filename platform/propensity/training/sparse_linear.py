"""Linear layers of sparse rows, outside of MXNet: forward, and gradient and optimizer's step in one pass.

MXNet's own sparse layer takes most of a step at hundreds of thousands of features: it writes a row-sparse gradient,
reads it again for the optimizer, and its loops use a part of the processor. Here the gradient of a weight row stays in
the first cache and is used up at once. `tests/benchmarks/bench_training_step.py` prints what that brings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from propensity.models.sparse_product import add_product
from propensity.training import sparse_kernels
from propensity.training.threads import share

if TYPE_CHECKING:
    import numpy.typing as npt
    from scipy.sparse import csc_matrix, csr_matrix

    Floats = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int32]

OPTIMIZERS: Final = {"adam": 2, "adagrad": 1, "sgd": 0}
"""Names, as MXNet has them, and how many arrays of the weight's size each keeps."""


@dataclass(frozen=True)
class SparseRows:
    """A batch's sparse rows in both orders.

    Attributes:
        by_row: csr_matrix, float32, (n_rows, n_in).
        by_column: The same as csc_matrix.
        columns: Columns with an entry, int32, rising.
    """

    by_row: csr_matrix
    by_column: csc_matrix
    columns: Ints

    @classmethod
    def of(cls, rows: csr_matrix) -> SparseRows:
        """Sort rows by column too."""
        by_column = rows.tocsc()
        # Of truth values, which numpy counts and finds many times as fast as those of numbers.
        filled = by_column.indptr[1:] != by_column.indptr[:-1]
        return cls(rows, by_column, np.flatnonzero(filled).astype(np.int32))

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.by_row.shape[0])


class SparseLinear:
    """`rows @ weight` without a bias, with a weight of its own that `step` moves.

    Attributes:
        weight: float32, (n_in, n_out), C order.
        state: The optimizer's arrays, each of the weight's shape.
        steps: Steps taken since `train_with`.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        self.weight: Floats = np.zeros((n_in, n_out), np.float32)
        self._optimizer, self._decay, self._lazy = "sgd", 0.0, True
        self.state: list[Floats] = []
        self._every_column = np.arange(n_in, dtype=np.int32)
        self.steps = 0

    def train_with(self, optimizer: str, *, weight_decay: float, lazy: bool) -> None:
        """Start an optimizer anew.

        Args:
            optimizer: One of OPTIMIZERS.
            weight_decay: L2 penalty.
            lazy: Leave the weight rows alone that a batch doesn't touch; else all move, if only by the penalty.
        """
        self._optimizer, self._decay, self._lazy = optimizer, weight_decay, lazy
        self.state = [np.zeros_like(self.weight) for _ in range(OPTIMIZERS[optimizer])]
        self.steps = 0

    def product(self, rows: SparseRows) -> Floats:
        """Return `rows @ weight`, float32, (n_rows, n_out)."""
        csr = rows.by_row
        out = np.zeros((len(rows), self.weight.shape[1]), np.float32)

        def work(low: int, high: int) -> None:
            add_product(csr.indptr, csr.indices, csr.data, self.weight, out, low, high, 0)

        share(work, csr.indptr, self.weight.shape[1])
        return out

    def step(self, learning_rate: float, rows: SparseRows, gradient: Floats) -> None:
        """Move the weight by a batch's gradient.

        Args:
            learning_rate: Of the step.
            rows: The batch.
            gradient: Of the loss by `product(rows)`, float32, (n_rows, n_out).
        """
        csc = rows.by_column
        columns = rows.columns if self._lazy else self._every_column
        self.steps += 1
        rate = np.float32(learning_rate * self._correction())
        kernel = getattr(sparse_kernels, self._optimizer)
        decay = np.float32(self._decay)

        def work(low: int, high: int) -> None:
            kernel(
                columns, csc.indptr, csc.indices, csc.data, gradient, self.weight, *self.state, rate, decay, low, high
            )

        # What a column costs: its entries, and reading and writing its weights.
        cost = np.concatenate(([0], csc.indptr[columns + 1] - csc.indptr[columns] + 4)).cumsum()
        share(work, cost, self.weight.shape[1])

    def _correction(self) -> float:
        if self._optimizer != "adam":
            return 1.0
        return float(np.sqrt(1.0 - 0.999**self.steps) / (1.0 - 0.9**self.steps))
