"""Compiling loops over numbers: what every compiled function of the platform is made with.

Lessons for those who write one: index arrays in full, `flow[row, j]`, in the innermost loop; a row handed to another
compiled function costs a count of references and often the processor's vectors. Sums into one number aren't vectorised,
since that would change their order: sum into an array, or into lanes.
"""

from __future__ import annotations

from typing import Any

import numba


def compiled(function: Any) -> Any:
    """Compile for one thread without the GIL; kept on disk where that can be written."""
    # contract: a product and a sum become one instruction; nothing is reordered.
    options: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's directory nor the user's cache can be written
        return numba.njit(**options)(function)
