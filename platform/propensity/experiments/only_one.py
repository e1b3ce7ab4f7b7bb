"""One experiment of a kind at a time: a second one would do the same work beside the first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from propensity.warehouse.process_lock import process_lock

if TYPE_CHECKING:
    from pathlib import Path


@contextmanager
def only_one(directory: Path, what: str) -> Iterator[None]:
    """Hold the lock of `directory` for the length of the block; it goes with the process, however that ends.

    Args:
        directory: Made if it isn't there.
        what: Names the experiment in the error, e.g. "backtest of region 'us'".

    Raises:
        WarehouseLockedError: Another process holds it; the message names the process.

    Side effects: a small file in the directory that says who holds the lock.
    """
    advice = "Repeat the command when it has ended: what is finished then isn't done again."
    with process_lock(directory / ".lock", what, advice=advice):
        yield
