"""Arrays in memory that earlier ones have left.

The kernel clears each page that it gives out, and on a virtual machine may first have to ask for it: for full vectors
that takes a good part of the time that scoring them does.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any
from weakref import finalize

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


class RecycledArrays:
    """Makes arrays as `np.empty` does; keeps the memory of those that are gone for the next ones.

    For arrays of nearly one size, of which a bounded number is there at a time: as much memory as they had stays.
    Safe to share among threads.
    """

    def __init__(self) -> None:
        """Begin with no memory."""
        self._free: list[npt.NDArray[np.uint8]] = []

    def __call__(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return an array, C order, of whatever values are in its memory."""
        count, kind = prod(shape), np.dtype(dtype)
        try:
            memory = self._free.pop()
        except IndexError:
            memory = np.empty(0, np.uint8)
        if len(memory) < count * kind.itemsize:
            memory = np.empty(count * kind.itemsize, np.uint8)
        # Views of it, also Arrow's, keep this array, which isn't the one that has the memory.
        array = np.frombuffer(memory.data, kind, count)
        finalize(array, self._free.append, memory).atexit = False
        return array.reshape(shape)
