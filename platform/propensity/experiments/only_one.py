"""One experiment of a kind at a time: a second one would do the same work beside the first."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from propensity.errors import WarehouseLockedError

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
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise WarehouseLockedError(
                f"Another {what} is going on (process {file.read() or 'unknown'}). Repeat the command when it has "
                "ended: what is finished then isn't done again."
            ) from error
        except OSError:
            pass  # a file system without locks: what is written is whole all the same
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
