"""The one door to ONNX: the packages that write a graph and run it, named with their extra when they are missing."""

from __future__ import annotations

import importlib
from typing import Any, Final

from propensity.errors import RuntimeMissingError

ERRORS_ONLY: Final = 3
"""Of ONNX Runtime's levels: it warns of each initializer that it folds into others."""


def onnx() -> Any:
    """Return the package onnx.

    Raises:
        RuntimeMissingError: It isn't installed.
    """
    try:
        package = importlib.import_module("onnx")
    except ImportError as error:
        raise _missing("onnx", error) from error
    return package


def onnxruntime() -> Any:
    """Return the package onnxruntime, which checks what was written; raises as `onnx` does."""
    try:
        package = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise _missing("onnxruntime", error) from error
    package.set_default_logger_severity(ERRORS_ONLY)
    return package


def _missing(package: str, error: Exception) -> RuntimeMissingError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return RuntimeMissingError(
        f"An export to ONNX needs {package}, which can't be imported ({reason}). Install the extra: "
        "pip install 'propensity[onnx]'"
    )
