"""How a process that scores deals with memory: it frees in each batch what it needs again in the next."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pyarrow as pa

KEPT_BYTES: Final = 2**25
"""Of free memory at the end of each of malloc's arenas."""
LARGE_BYTES: Final = 2**23
"""Of a piece that malloc gets from the kernel for itself and gives back when it is freed."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
_DEFAULT_BYTES = 2**17
"""Of both."""


def settle_memory() -> None:
    """Let this process keep what it frees, and look for garbage in what is new alone.

    By default malloc and Arrow's allocator give memory back to the kernel at once, and the kernel clears it before
    it gives it out again, which a virtual machine feels most. Python's collector goes through all that imports and the
    model have left again and again. Where malloc isn't glibc's it stays as it is.

    Side effects: on malloc's thresholds, Arrow's default pool and the collector's permanent generation.
    """
    gc.freeze()
    if (libc := _glibc()) is not None:
        libc.mallopt(_MMAP_THRESHOLD, LARGE_BYTES)
        libc.mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
        pa.set_memory_pool(pa.system_memory_pool())  # malloc's


@contextmanager
def settled_memory() -> Iterator[None]:
    """Do so as long as the block lasts.

    Side effects: what `settle_memory` does is undone at the end, but for malloc's own adapting of its thresholds, which
    ends with the first block; free memory goes back to the kernel.
    """
    pool = pa.default_memory_pool()
    settle_memory()
    try:
        yield
    finally:
        gc.unfreeze()
        pa.set_memory_pool(pool)
        if (libc := _glibc()) is not None:
            libc.mallopt(_TRIM_THRESHOLD, _DEFAULT_BYTES)
            libc.mallopt(_MMAP_THRESHOLD, _DEFAULT_BYTES)
            libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """Return the C library if its malloc is glibc's."""
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
