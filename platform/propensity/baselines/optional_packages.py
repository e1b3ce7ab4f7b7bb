"""Packages that only some baselines need: imported when such a baseline is fitted, named when they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from propensity.errors import RuntimeMissingError


def lightgbm() -> Any:
    """Return the package lightgbm.

    Raises:
        RuntimeMissingError: It isn't installed, or its shared library doesn't load.
    """
    try:
        return importlib.import_module("lightgbm")
    except (ImportError, OSError) as error:
        raise _missing("lightgbm", "lightgbm", error) from error


def linear_models() -> Any:
    """Return scikit-learn's module `sklearn.linear_model`; raises as `lightgbm` does."""
    try:
        return importlib.import_module("sklearn.linear_model")
    except ImportError as error:
        raise _missing("scikit-learn", "baselines", error) from error


def _missing(package: str, extra: str, error: Exception) -> RuntimeMissingError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return RuntimeMissingError(
        f"This baseline needs {package}, which can't be imported ({reason}). Install the extra: "
        f"pip install 'propensity[{extra}]', or choose others with --baselines."
    )
