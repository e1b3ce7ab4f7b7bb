"""Waiting for Spark, which says little: for a master that doesn't answer, for workers that nobody has."""

from __future__ import annotations

import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from propensity.errors import EngineError

MASTER_SECONDS: Final = 10.0
"""For a standalone master to answer, which may have been started just before."""
CONNECT_SECONDS: Final = 10.0
"""For a machine that says neither yes nor no."""
POLL_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 30.0
"""With work to do and no task that does it, before a word is said."""
log = logging.getLogger(__name__)


def await_master(master: str) -> None:
    """Wait until a standalone master answers. Spark itself would try for more than a minute, and then not say why.

    Raises:
        EngineError: None does.
    """
    places = re.findall(r"([^/,]+):(\d+)", master) if master.startswith("spark://") else []
    until = time.monotonic() + MASTER_SECONDS
    while places:
        for host, port in places:
            try:
                socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
            except OSError as error:
                why = error.strerror or error  # one that takes too long has no strerror
            else:
                return
        if time.monotonic() > until:
            raise EngineError(
                f"No Spark master answers at {master}: {why}. Start one there, or name another: --master, or "
                "PROPENSITY_SCORING__SPARK_MASTER."
            )
        time.sleep(POLL_SECONDS)


@contextmanager
def idle_told(context: Any) -> Iterator[None]:
    """Say so, within the block, where Spark waits for workers: that may go on for ever."""
    over = threading.Event()
    watch = threading.Thread(target=_tell_idle, args=(context, over), name="idle", daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()


def _tell_idle(context: Any, over: threading.Event) -> None:
    """Look until it's over whether tasks run; say it once for each time that none has for a while."""
    tracker, at_work, told = context.statusTracker(), time.monotonic(), False
    while not over.wait(POLL_SECONDS):
        try:
            stages = [tracker.getStageInfo(number) for number in tracker.getActiveStageIds()]
        except Exception:  # noqa: BLE001 - Spark has ended, which the block hears of itself
            return
        if not stages or any(stage is not None and stage.numActiveTasks for stage in stages):
            at_work, told = time.monotonic(), False
        elif not told and time.monotonic() - at_work > PATIENCE_SECONDS:
            log.warning(idle(context))
            told = True


def idle(context: Any) -> str:
    """Say in a line that Spark waits, and for what."""
    conf = context.getConf()
    return (
        f"Spark has begun no task for {PATIENCE_SECONDS:.0f} s. Has {conf.get('spark.master')} workers with "
        f"{conf.get('spark.executor.memory', '1g')} of memory (spark.executor.memory) and a core to spare?"
    )
