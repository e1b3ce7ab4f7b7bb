"""A new file that is summed while it is written, and that leaves the kernel's page cache alone."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from typing import TYPE_CHECKING, Final

import numpy as np
from isal.isal_zlib import crc32

if TYPE_CHECKING:
    from pathlib import Path

BUFFER_BYTES: Final = 2**22
"""Written at once."""
BLOCK_BYTES: Final = 2**12
"""What addresses, places and sizes of direct writes are multiples of: a page, and at least a disk's block."""
_DIRECT: Final = getattr(os, "O_DIRECT", 0)


class SummedFile:
    """A binary file for writing from its start to its end, by one thread at a time.

    Attributes:
        size: Bytes written so far.
        crc32: Their CRC-32.
        error: What the system last refused, for those whose library tells it in words of its own.

    Writes go to the disk past the page cache (O_DIRECT): a run is larger than memory and read by others, later, and
    to copy it into the kernel can cost as much as to score it. File systems that have no such writes, and the end of a
    file, which isn't a whole block, take the usual way.
    """

    def __init__(self, path: Path) -> None:
        """Open a new file.

        Raises:
            FileExistsError: There is one.

        Side effects: creates it.
        """
        self._file = path.open("xb", buffering=0)
        self._path = path
        memory = mmap.mmap(-1, BUFFER_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # starts with a page
        self._buffer = np.frombuffer(memory, np.uint8)
        self._filled = 0
        self.size = self.crc32 = 0
        self.error: OSError | None = None
        self._direct = False
        if _DIRECT:
            self._set_direct(on=True)

    @property
    def closed(self) -> bool:
        """Whether it is."""
        return self._file.closed

    def write(self, data: bytes) -> int:
        """Take bytes and return how many.

        Raises:
            OSError: The disk is full, or such.
        """
        left = np.frombuffer(data, np.uint8)
        size = len(left)
        self.crc32 = crc32(left, self.crc32)
        while len(left):
            fits = left[: BUFFER_BYTES - self._filled]
            self._buffer[self._filled : self._filled + len(fits)] = fits
            self._filled += len(fits)
            left = left[len(fits) :]
            if self._filled == BUFFER_BYTES:
                self._write_out(self._filled)
        self.size += size
        return size

    def flush(self) -> None:
        """Nothing: less than a buffer's bytes stay until `close`."""

    def sync(self) -> None:
        """Wait until what was written out so far is on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Write the rest, unless a write has failed, and close the file; safe to repeat."""
        if self._file.closed:
            return
        try:
            if self.error is None:
                self._write_out(self._filled // BLOCK_BYTES * BLOCK_BYTES)
                if self._direct:
                    self._set_direct(on=False)
                self._write_out(self._filled)
        finally:
            self._file.close()

    def _write_out(self, size: int) -> None:
        """Write so much of the buffer and move what follows it to its start."""
        done = 0
        while done < size:
            try:
                done += self._file.write(self._buffer[done:size].data)
            except OSError as error:
                if error.errno == errno.EINVAL and self._direct:
                    self._set_direct(on=False)  # of larger blocks, or after part of one was written
                    continue
                error.filename = str(self._path)
                self.error = error
                raise
        rest = self._filled - size
        self._buffer[:rest] = self._buffer[size : self._filled].copy()
        self._filled = rest

    def _set_direct(self, *, on: bool) -> None:
        flags = fcntl.fcntl(self._file, fcntl.F_GETFL)
        try:
            fcntl.fcntl(self._file, fcntl.F_SETFL, flags | _DIRECT if on else flags & ~_DIRECT)
        except OSError as error:
            if not on or error.errno != errno.EINVAL:
                raise
        else:
            self._direct = on
