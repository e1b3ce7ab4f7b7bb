"""A directory for a stream on its way from Spark, among which those that killed processes left are found."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

PREFIX: Final = "feast-spark-retrieval-"
NEWBORN_SECONDS: Final = 60
"""For so long a directory without a lock may be one that its owner hasn't come to lock."""


@contextmanager
def stream_directory(place: str | None) -> Iterator[Path]:
    """Yield an empty directory, which is removed when the block ends.

    It is locked meanwhile. The lock goes with the process, however that ends: a directory without one is nobody's, and
    is removed too. On a file system without locks those stay.

    Args:
        place: where to make it; by default where the system has its temporary files.
    """
    if place is not None:
        Path(place).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=place) as name:
        directory = Path(name)
        lock = os.open(directory, os.O_RDONLY)
        try:
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _drop_abandoned(directory.parent)
            yield directory
        finally:
            os.close(lock)


def _drop_abandoned(place: Path) -> None:
    for directory in place.glob(f"{PREFIX}*"):
        with suppress(OSError):  # its owner holds it, or has just ended; or it is another user's
            descriptor = os.open(directory, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - os.fstat(descriptor).st_mtime > NEWBORN_SECONDS:
                    shutil.rmtree(directory, ignore_errors=True)
            finally:
                os.close(descriptor)
