"""How long steps tell a caller how far they are; the command line draws it, a service may log it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called as work advances."""

    def __call__(self, step: str, done: int, total: int) -> None:
        """Report that `done` of `total` units of `step` are finished."""


def silent(step: str, done: int, total: int) -> None:
    """Report nothing."""
    del step, done, total
