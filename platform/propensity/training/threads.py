"""Threads of our own for the compiled loops, beside MXNet's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from threadpoolctl import ThreadpoolController

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

SHARED_FROM: Final = 1_000_000
"""Products of a call from which threads share it: below, handing it over takes longer."""
PIECES: Final = 4
"""Parts of a call per thread: one whose core is taken by another process leaves the rest to the others."""

_threads = 1
_pool: ThreadPoolExecutor | None = None


def set_threads(threads: int) -> None:
    """Let `threads` threads share a large batch from now on; the result doesn't depend on it."""
    global _threads, _pool
    _threads, _pool = threads, None


def share(work: Callable[[int, int], None], cost: npt.NDArray[Any], width: int) -> None:
    """Do `work(low, high)` over all positions, in pieces of even cost that threads take in turn.

    Args:
        work: Releases the GIL. Whatever the ranges, each position must come to the same bits.
        cost: Of the positions before each one, n + 1 rising numbers from 0.
        width: What a unit of cost stands for, in products.
    """
    global _pool  # noqa: PLW0603 - made when it is first needed
    n, total = len(cost) - 1, int(cost[-1])
    if _threads == 1 or total * width < SHARED_FROM:
        work(0, n)
        return
    if _pool is None:
        _pool = ThreadPoolExecutor(_threads, thread_name_prefix="training")
    pieces = _threads * PIECES
    shares = np.arange(1, pieces) * (total / pieces)
    bounds = [0, *np.searchsorted(cost, shares).tolist(), n]
    list(_pool.map(work, bounds[:-1], bounds[1:]))


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep numpy's products in their caller's thread for the length of the block; MXNet has a BLAS of its own."""
    with ThreadpoolController().select(prefix="libscipy_openblas").limit(limits=1):
        yield
