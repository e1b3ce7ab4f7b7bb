"""One run of a region at a time: two would train the same net beside each other on the same cores."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from propensity.errors import WarehouseLockedError

if TYPE_CHECKING:
    from propensity.settings import Settings


@contextmanager
def alone_in_region(settings: Settings) -> Iterator[None]:
    """Hold the region's lock for the length of the block; it goes with the process, however that ends.

    Raises:
        WarehouseLockedError: Another process kept it for longer than `lock_timeout_seconds`; the message names it.

    Side effects: a small file in the home directory that says who holds the lock.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    with (settings.home / f".{settings.region}.lock").open("a+") as file:
        _wait_for(file, settings)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _wait_for(file: IO[str], settings: Settings) -> None:
    deadline = time.monotonic() + settings.lock_timeout_seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                file.seek(0)
                raise WarehouseLockedError(
                    f"Another run of region {settings.region!r} is going on (process {file.read() or 'unknown'}). "
                    "Try again when it has ended, or raise PROPENSITY_LOCK_TIMEOUT_SECONDS."
                ) from error
            time.sleep(0.05)
        except OSError:
            return  # a file system without locks: what runs publish is whole all the same
        else:
            return
