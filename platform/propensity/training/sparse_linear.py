"""Linear layers of sparse rows, outside of MXNet: forward, and gradient and optimizer's step in one pass.

MXNet's own sparse layer takes most of a step at hundreds of thousands of features: it writes a row-sparse gradient,
reads it again for the optimizer, and its loops use a part of the processor. Here the gradient of a weight row stays in
the first cache and is used up at once. `tests/benchmarks/bench_training_step.py` prints what that brings.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from propensity.training import sparse_kernels
from propensity.training.mxnet_runtime import mx

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    from scipy.sparse import csc_matrix, csr_matrix

    Floats = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int32]

SHARED_FROM: Final = 1_000_000
"""Products of a call from which threads share it: below, handing it over takes longer."""

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
        return cls(rows, by_column, np.flatnonzero(np.diff(by_column.indptr)).astype(np.int32))

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.by_row.shape[0])


class SparseLinear:
    """`rows @ weight` without a bias, with a weight of its own that `step` moves.

    Used inside `autograd.record()` it keeps the rows and its output, whose gradient `step` reads after `backward()`.

    Attributes:
        weight: float32, (n_in, n_out), C order.
        state: The optimizer's arrays, each of the weight's shape.
        steps: Steps taken since `train_with`.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        self.weight: Floats = np.zeros((n_in, n_out), np.float32)
        self._recorded: tuple[SparseRows, Any] | None = None
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

    def __call__(self, rows: SparseRows) -> Any:
        """Return `rows @ weight` as an MXNet array, (n_rows, n_out)."""
        csr = rows.by_row
        out = np.empty((len(rows), self.weight.shape[1]), np.float32)

        def work(low: int, high: int) -> None:
            sparse_kernels.product(csr.indptr, csr.indices, csr.data, self.weight, out, low, high)

        _share(work, csr.indptr, self.weight.shape[1])
        output = mx.nd.array(out)
        if mx.autograd.is_recording():
            output.attach_grad()
            self._recorded = rows, output
        return output

    def step(self, learning_rate: float) -> None:
        """Move the weight by the recorded batch's gradient; nothing where none was recorded since the last step."""
        if self._recorded is None:
            return
        (rows, output), self._recorded = self._recorded, None
        gradient = output.grad.asnumpy()
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
        _share(work, cost, self.weight.shape[1])

    def _correction(self) -> float:
        if self._optimizer != "adam":
            return 1.0
        return float(np.sqrt(1.0 - 0.999**self.steps) / (1.0 - 0.9**self.steps))


def set_threads(threads: int) -> None:
    """Let `threads` threads share a large batch from now on; the result doesn't depend on it."""
    global _threads, _pool
    _threads, _pool = threads, None


_threads = 1
_pool: ThreadPoolExecutor | None = None


def _share(work: Callable[[int, int], None], cost: npt.NDArray[Any], width: int) -> None:
    """Do `work(low, high)` over all positions, in threads of even cost; `cost` is cumulative, from 0."""
    global _pool  # noqa: PLW0603 - made when it is first needed
    n, total = len(cost) - 1, int(cost[-1])
    if _threads == 1 or total * width < SHARED_FROM:
        work(0, n)
        return
    if _pool is None:
        _pool = ThreadPoolExecutor(_threads, thread_name_prefix="sparse-linear")
    shares = np.arange(1, _threads) * (total / _threads)
    bounds = [0, *np.searchsorted(cost, shares).tolist(), n]
    list(_pool.map(work, bounds[:-1], bounds[1:]))
