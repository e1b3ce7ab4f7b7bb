"""Runs that take longer than a process may live: what a killed one wrote is found by the next.

A run's unfinished files lie in `lake/.unfinished/<table>@<region>@<as_of>@<run>/`, on the lake's file system, hidden
from every reader. Whoever works there holds a lock on the directory, which goes with the process, however that ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from propensity.errors import WarehouseLockedError
from propensity.warehouse.lake import as_of_partition

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from propensity.warehouse.lake import Lake

ABANDONED_SECONDS: Final = 7 * 86400
"""Unfinished files that nobody touched for so long won't be wanted any more."""

REMOVED: Final = ".removed."
"""In the name of a directory that is being removed."""


@contextmanager
def unfinished_run(
    lake: Lake, table: str, region: str, run_id: str, as_of: datetime, *, wait_seconds: float
) -> Iterator[Path]:
    """Yield the directory of a run's unfinished files, with what earlier attempts left in it.

    When the block ends well the directory is removed: by then the run is published. When it raises, or the process
    dies, the directory stays for the next attempt.

    Args:
        lake: Where.
        table: Of the run, as the next three.
        region: Of the run.
        run_id: Of the run: its unfinished files are for this one only.
        as_of: Of the run.
        wait_seconds: How long to wait for another process that works on the same run.

    Raises:
        WarehouseLockedError: Another process still does.

    Side effects: creates and removes directories below the lake's root.
    """
    directory = _place(lake) / _name(table, region, as_of, run_id)
    lock = _wait_for(directory, wait_seconds)
    try:
        yield directory
        # Moved first: what still writes there, as a Spark task that wasn't needed, would leave files behind it.
        removed = directory.with_name(f"{directory.name}{REMOVED}{uuid.uuid4().hex}")
        directory.rename(removed)
        shutil.rmtree(removed, ignore_errors=True)
    finally:
        os.close(lock)


def drop_outdated(lake: Lake, table: str, region: str, as_of: datetime, *, current: str | None) -> int:
    """Remove unfinished runs that nobody will finish; return how many.

    Those are the others of the same table, region and as_of, whose inputs have been replaced, and any that nobody
    touched for `ABANDONED_SECONDS`.

    Args:
        lake: Where.
        table: Of the runs, as the next two.
        region: Of the runs.
        as_of: Of the runs.
        current: The run that is to stay; None where none is to.

    Side effects: deletes directories. Safe beside running processes: what one of them holds is left alone.
    """
    place, dropped = _place(lake), 0
    siblings = _name(table, region, as_of, "")
    for directory in sorted(place.iterdir()) if place.is_dir() else ():
        replaced = directory.name.startswith(siblings) and directory.name != siblings + (current or "")
        abandoned = _idle_seconds(directory) > ABANDONED_SECONDS
        if (replaced or abandoned) and (lock := _lock(directory)) is not None:
            try:
                # On a file system without locks only time tells that the owner has died.
                if lock.exclusive or abandoned:
                    shutil.rmtree(directory, ignore_errors=True)
                    dropped += 1
            finally:
                os.close(lock.descriptor)
    return dropped


class _Lock:
    """An open directory; `exclusive` is False where the file system has no locks."""

    def __init__(self, descriptor: int, *, exclusive: bool) -> None:
        self.descriptor, self.exclusive = descriptor, exclusive


def _wait_for(directory: Path, wait_seconds: float) -> int:
    deadline = time.monotonic() + wait_seconds
    while True:
        directory.mkdir(parents=True, exist_ok=True)
        lock = _lock(directory)
        if lock is not None:
            return lock.descriptor
        if time.monotonic() > deadline:
            raise WarehouseLockedError(
                f"Another process is at work on {directory.name}. Try again when it has ended, or raise "
                "PROPENSITY_LOCK_TIMEOUT_SECONDS."
            )
        time.sleep(0.05)


def _lock(directory: Path) -> _Lock | None:
    """Open and lock a directory; None when another process holds it or it has just been removed."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        return _Lock(descriptor, exclusive=False)
    try:
        still_there = os.path.samestat(os.fstat(descriptor), directory.stat())
    except FileNotFoundError:
        still_there = False
    if still_there:
        return _Lock(descriptor, exclusive=True)
    os.close(descriptor)  # who held it before has removed it
    return None


def _idle_seconds(directory: Path) -> float:
    """Return how long ago anything was created, renamed or removed in the directory or in one of its own."""
    try:
        inside = [path for path in directory.iterdir() if path.is_dir()]
        return time.time() - max(path.stat().st_mtime for path in (directory, *inside))
    except FileNotFoundError:
        return 0.0  # it's going this moment


def _name(table: str, region: str, as_of: datetime, run_id: str) -> str:
    return "@".join((table, region, as_of_partition(as_of), run_id))


def _place(lake: Lake) -> Path:
    return lake.root / ".unfinished"
