"""The propensity platform: how likely is each customer to act in each category soon?

`from propensity import Platform` is the way in; it is loaded when asked for, so that `feature_repo` and Spark workers,
which need a small part, don't pay for the rest.
"""

from typing import Any

__all__ = ["Platform"]


def __getattr__(name: str) -> Any:
    if name == "Platform":
        from propensity.api import Platform  # noqa: PLC0415

        return Platform
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
