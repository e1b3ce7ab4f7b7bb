"""Directories of unfinished files, in which a living process's can be told from those that a killed one left.

Its owner holds a lock on each, which goes with the process, however that ends. Until it has the lock the directory has
another name; the process id in the name tells where the file system has no locks.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_NAME: Final = r"(?P<newborn>\.?){prefix}(?P<owner>\d+)-\w+"


@contextmanager
def staged(place: Path, prefix: str = "") -> Iterator[Path]:
    """Yield an empty directory for unfinished files; it is removed when the block ends, unless it was renamed.

    Args:
        place: Directory in which it is made; made itself where it isn't there.
        prefix: Of its name, where others' directories lie in `place` too.

    Side effects: creates and removes directories below `place`; holds a lock that tells it from an abandoned one.
    """
    place.mkdir(parents=True, exist_ok=True)
    name = f"{prefix}{os.getpid()}-{uuid.uuid4().hex}"
    unlocked, directory = place / f".{name}", place / name
    unlocked.mkdir()
    lock = os.open(unlocked, os.O_RDONLY)
    try:
        # A file system without locks leaves the process id in the name to tell.
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unlocked.rename(directory)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def drop_abandoned(place: Path, prefix: str = "") -> int:
    """Remove what processes that have died left of `staged` with the same arguments; return how many directories.

    Side effects: deletes directories. Safe beside running processes: only dead owners' are touched.
    """
    dropped = 0
    pattern = re.compile(_NAME.format(prefix=re.escape(prefix)))
    for directory in place.iterdir() if place.is_dir() else ():
        named = pattern.fullmatch(directory.name)
        if named is None:
            continue
        alive = _newborn_lives if named["newborn"] else _owner_lives
        if not alive(directory, int(named["owner"])):
            shutil.rmtree(directory, ignore_errors=True)
            dropped += 1
    return dropped


def _newborn_lives(directory: Path, owner: int) -> bool:
    """Return whether a directory whose owner was about to lock it may still get there: that takes no second."""
    try:
        age_seconds = time.time() - directory.stat().st_mtime
    except FileNotFoundError:
        return True  # locked or finished this moment
    return age_seconds < 1 or _is_running(owner)


def _owner_lives(directory: Path, owner: int) -> bool:
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except FileNotFoundError:
        return True  # finished this moment: nothing to remove
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        # No locks on this file system. The lock is asked first because containers reuse process ids, and see none
        # of their neighbours'.
        return _is_running(owner)
    finally:
        os.close(descriptor)
    return False


def _is_running(process: int) -> bool:
    return Path(f"/proc/{process}").exists()
