"""A lock between the processes of one machine that goes with its holder, however that ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Final

from propensity.errors import WarehouseLockedError

if TYPE_CHECKING:
    from pathlib import Path

_PAUSE_SECONDS: Final = 0.05


@contextmanager
def process_lock(file: Path, what: str, *, advice: str, timeout_seconds: float = 0.0) -> Iterator[None]:
    """Hold the lock `file` for the length of the block.

    It is `flock(2)`: the kernel lets it go when the holder has ended, also by `kill -9`, so there is no stale lock to
    clear away. Two threads of one process exclude each other too; it isn't reentrant. Processes of other machines don't
    see it on file systems that keep it local, and on one without locks the block runs unlocked.

    Args:
        file: Made with its directory where it isn't there; it stays, with who held it last.
        what: Names the work in the error, e.g. "scoring of region 'us'".
        advice: Last sentence of the error.
        timeout_seconds: How long to wait for another holder.

    Raises:
        WarehouseLockedError: Another process kept it for longer; the message says which, and since when.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+") as held:
        _wait_for(held, what, advice, timeout_seconds)
        held.truncate(0)
        held.write(f"process {os.getpid()}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}")
        held.flush()
        yield


def _wait_for(held: IO[str], what: str, advice: str, timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                held.seek(0)
                raise WarehouseLockedError(
                    f"Another {what} is going on ({held.read() or 'process unknown'}). {advice}"
                ) from error
            time.sleep(_PAUSE_SECONDS)
        except OSError:
            return  # a file system without locks: what runs publish is whole all the same
        else:
            return
