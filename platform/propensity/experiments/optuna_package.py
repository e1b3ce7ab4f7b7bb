"""The package Optuna: imported when a search begins, named with its extra when it is missing."""

from __future__ import annotations

import importlib
from typing import Any

from propensity.errors import RuntimeMissingError


def optuna() -> Any:
    """Return the package, silenced: the observer says what goes on.

    Raises:
        RuntimeMissingError: It isn't installed.
    """
    try:
        package = importlib.import_module("optuna")
    except ImportError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RuntimeMissingError(
            f"propensity tune needs optuna, which can't be imported ({reason}). Install the extra: "
            "pip install 'propensity[tune]'"
        ) from error
    package.logging.set_verbosity(package.logging.WARNING)
    return package
