"""Compiling loops over numbers: what every compiled function of the platform is made with.

Lessons for those who write one: index arrays in full, `flow[row, j]`, in the innermost loop; a row handed to another
compiled function costs a count of references and often the processor's vectors. A sum into one number isn't vectorised,
since that would change its order: sum into an array, or let the order be any.
"""

from __future__ import annotations

from typing import Any

import numba


def compiled(function: Any) -> Any:
    """Compile for one thread without the GIL; kept on disk where that can be written."""
    # contract: a product and a sum become one instruction; nothing is reordered.
    return _compiled(function, {"contract"})


def compiled_in_any_order(function: Any) -> Any:
    """Do so; sums into one number go in the order that suits the processor's vectors, for all calls the same."""
    return _compiled(function, {"contract", "reassoc"})


def _compiled(function: Any, fastmath: set[str]) -> Any:
    options: dict[str, Any] = {"nogil": True, "fastmath": fastmath, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's directory nor the user's cache can be written
        return numba.njit(**options)(function)
