"""How much memory this process may use: what the machine has free, within the limits of its control groups."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path("/")
UNLIMITED: Final = 1 << 60
"""Version 1 of control groups spells "no limit" as a number near 2**63."""


def resident_bytes(root: Path = ROOT) -> int:
    """Return the memory that this process holds: its resident set."""
    return _field(root / "proc/self/status", "VmRSS")


def available_bytes(root: Path = ROOT) -> int:
    """Return the most memory that this process can come to hold without swapping, with what it holds already.

    The least of what the machine has to give and of what each control group above the process has left. Pages that only
    cache files count as free: the kernel gives them back.

    Args:
        root: Where `proc` and `sys` lie, for tests.
    """
    holds = resident_bytes(root)
    left = [_field(root / "proc/meminfo", "MemAvailable"), *_left_in_groups(root)]
    return holds + max(0, min(left))


def _left_in_groups(root: Path) -> list[int]:
    """Return the bytes left in each limited control group of the process and in those above it."""
    left = []
    for line in (root / "proc/self/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            mount, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            mount = root / "sys/fs/cgroup/memory"
        else:
            continue
        # In a container the path may be the host's, and the group itself be mounted at the top.
        group = mount / path.lstrip("/")
        for directory in (group, *group.parents):
            found = _left_in(directory, *names)
            if found is not None:
                left.append(found)
            if directory == mount:
                break
    return left


def _left_in(directory: Path, limit: str, usage: str, cache: str) -> int | None:
    try:
        allowed = (directory / limit).read_text().strip()
        used = int((directory / usage).read_text())
        stat = dict(line.split() for line in (directory / "memory.stat").read_text().splitlines())
    except OSError:
        return None  # no such group here, or one without a limit
    if allowed == "max" or int(allowed) > UNLIMITED:
        return None
    return int(allowed) - used + int(stat.get(cache, 0))


def _field(path: Path, name: str) -> int:
    """Return a field of a file of lines such as `VmRSS:   1234 kB`, in bytes."""
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise OSError(f"{path} has no {name}")
