"""How a process that scores deals with memory: it frees in each batch what it needs again in the next."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pyarrow as pa

KEPT_BYTES: Final = 2**26
"""Of free memory at the end of each of malloc's arenas."""
LARGE_BYTES: Final = 2**23
"""Of a piece that malloc gets from the kernel for itself and gives back when it is freed."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h


@contextmanager
def steady_memory() -> Iterator[None]:
    """Let this process, as long as the block lasts, keep what it frees, and look for garbage in what is new alone.

    By default malloc and Arrow's allocator give memory back to the kernel at once, and the kernel clears it before
    it gives it out again: with top categories alone a tenth of a scoring's processor time. Python's collector goes
    through all that imports and the model have left again and again. Where malloc isn't glibc's it stays as it is.

    Side effects: on malloc's thresholds, Arrow's default pool and the collector's permanent generation, undone at the
    end but for malloc's own adapting of its thresholds, which ends with the first block.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    pool = pa.default_memory_pool()
    gc.freeze()
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
        pa.set_memory_pool(pa.system_memory_pool())  # malloc's
    try:
        yield
    finally:
        gc.unfreeze()
        if mallopt is not None:
            pa.set_memory_pool(pool)
            mallopt(_TRIM_THRESHOLD, 2**17)
            mallopt(_MMAP_THRESHOLD, 2**17)  # malloc's own, both
            ctypes.CDLL(None).malloc_trim(0)
