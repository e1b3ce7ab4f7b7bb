"""A `propensity` command in a process of its own, with what it took: for benchmarks that go by the front door."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from subprocess import Popen


@dataclass(frozen=True)
class Taken:
    """What a command took.

    Attributes:
        wall: Seconds by the clock.
        cpu: Seconds on all processors.
        peak: Most resident memory of one process, bytes. Linux counts the caller's at the start in, so callers are
            small: they import nothing of the platform before their last command has ended.
        said: What it wrote to both streams.
    """

    wall: float
    cpu: float
    peak: int
    said: str


def propensity(*arguments: str, environment: Mapping[str, str]) -> Taken:
    """Run the command line to its end.

    Args:
        arguments: E.g. `train`, `--as-of`, `2024-07-19`.
        environment: Settings, on top of this process's own environment without its settings.

    Raises:
        RuntimeError: It failed; the message is what it wrote.
    """
    others = {name: value for name, value in os.environ.items() if not name.startswith("PROPENSITY_")}
    command = [sys.executable, "-c", "from propensity.cli import main; main()", *arguments]
    started = time.monotonic()
    with tempfile.TemporaryFile() as stream:
        process = Popen(command, env=others | environment, stdout=stream, stderr=stream)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        stream.seek(0)
        said = stream.read().decode(errors="replace")
    if process.returncode:
        raise RuntimeError(f"propensity {' '.join(arguments)} ended with {process.returncode}:\n{said}")
    return Taken(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, said)
