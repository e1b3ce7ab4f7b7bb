"""The sum of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from isal.isal_zlib import crc32

if TYPE_CHECKING:
    from pathlib import Path

BLOCK_BYTES: Final = 2**18
"""Of a file that are read at once: what a core's own cache holds."""


def crc32_of(path: Path) -> tuple[int, int]:
    """Return a file's size and CRC-32. Read-only."""
    size = total = 0
    with path.open("rb", buffering=0) as file:
        while block := file.read(BLOCK_BYTES):
            total = crc32(block, total)
            size += len(block)
    return size, total
