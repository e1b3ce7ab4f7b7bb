"""One run of a region at a time, and one that publishes: two would do the same work beside each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from propensity.warehouse.process_lock import process_lock

if TYPE_CHECKING:
    from propensity.settings import Settings

RUN: Final = "run"
"""Two would train the same net beside each other on the same cores."""
SCORING: Final = "scoring"
"""Whoever publishes, or takes back what was: each decides by what is the newest. Within a RUN, never around one."""


@contextmanager
def alone_in_region(settings: Settings, work: str = RUN) -> Iterator[None]:
    """Hold the region's lock for that work for the length of the block; it goes with the process, however that ends.

    Args:
        work: RUN or SCORING; the two don't exclude each other.

    Raises:
        WarehouseLockedError: Another process kept it for longer than `lock_timeout_seconds`; the message says which,
            and since when.

    Side effects: a small file in the home directory that says who holds the lock.
    """
    name = f".{settings.region}.lock" if work == RUN else f".{settings.region}.{work}.lock"
    with process_lock(
        settings.home / name,
        f"{work} of region {settings.region!r}",
        advice="Try again when it has ended, or raise PROPENSITY_LOCK_TIMEOUT_SECONDS.",
        timeout_seconds=settings.lock_timeout_seconds,
    ):
        yield
