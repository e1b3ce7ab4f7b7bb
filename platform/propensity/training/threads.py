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
_beside: ThreadPoolExecutor | None = None


def set_threads(threads: int) -> None:
    """Let `threads` threads share a large batch from now on; the result doesn't depend on it."""
    global _threads, _pool
    _threads, _pool = threads, None


def threads_in_use() -> int:
    """Return how many threads were set."""
    return _threads


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
def beside(work: Callable[[], None]) -> Iterator[None]:
    """Do `work` in a thread beside the block, and wait for it at the block's end; before the block, on one thread.

    Args:
        work: Releases the GIL where it takes long; touches nothing that the block does.
    """
    global _beside  # noqa: PLW0603 - made when it is first needed
    if _threads == 1:
        work()
        yield
        return
    if _beside is None:
        _beside = ThreadPoolExecutor(1, thread_name_prefix="training-beside")
    begun = _beside.submit(work)
    try:
        yield
    finally:
        begun.result()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep numpy's products in their caller's thread for the length of the block; MXNet has a BLAS of its own."""
    with ThreadpoolController().select(prefix="libscipy_openblas").limit(limits=1):
        yield
