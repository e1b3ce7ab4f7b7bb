"""Processes of their own that work on a home, and may be killed just before a certain operation."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

from tests import shop

OPENING = """
import os, signal, sys
from datetime import datetime
from tests import shop
settings = shop.settings_of({home!r}, **{flags!r})
as_of = datetime.fromisoformat("2024-08-01T04:00:00+00:00")
"""
# CPython's audit events: what runs is the platform's code as it is.
KILL = """
met = []
def kill(event, arguments):
    if event == {event!r} and any({part!r} in str(value) for value in arguments[:2]):
        met.append(event)
        if len(met) == {time}:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(kill)
"""


def start(home: Path, code: str, kill: tuple[str, str, int] | None = None, **flags: object) -> subprocess.Popen[str]:
    """Start Python with the shop's `settings` of a home and its `as_of`.

    Args:
        kill: Audit event, a part of one of its first two arguments, and the how many-th of these: just before it the
            process gets SIGKILL.
        flags: Settings on top.
    """
    whole = OPENING.format(home=str(home), flags=flags)
    if kill is not None:
        whole += KILL.format(event=kill[0], part=kill[1], time=kill[2])
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", whole + textwrap.dedent(code)],
        env=shop.environment(home),
        cwd=shop.ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(home: Path, code: str, kill: tuple[str, str, int] | None = None, **flags: object) -> tuple[int, str]:
    """Run what `start` starts to its end; return its exit code and what it wrote to standard error."""
    with start(home, code, kill, **flags) as process:
        _, err = process.communicate()
    return process.returncode, err
