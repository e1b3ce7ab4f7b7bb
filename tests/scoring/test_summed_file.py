"""A file that goes past the page cache holds what was written, however it was cut, and knows its sum."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import zlib
from pathlib import Path

import numpy as np
import pytest

from propensity.scoring.summed_file import BLOCK_BYTES, BUFFER_BYTES, SummedFile
from propensity.scoring.sums import crc32_of

EDGES = (1, BLOCK_BYTES, BUFFER_BYTES, 2 * BUFFER_BYTES + 12_345)
SIZES = [edge + more for edge in EDGES for more in (-1, 0, 1)]


def content_of(size: int) -> bytes:
    return np.random.default_rng(size).bytes(size)


def is_direct(file: SummedFile) -> bool:
    return bool(fcntl.fcntl(file._file, fcntl.F_GETFL) & os.O_DIRECT)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("piece", [777_777, 2**20, 2**24])
def test_what_was_written_is_there(size, piece, tmp_path):
    content = content_of(size)
    file = SummedFile(tmp_path / "file")
    for start in range(0, size, piece):
        assert file.write(content[start : start + piece]) == len(content[start : start + piece])
    file.close()
    file.close()
    assert file.closed
    assert (tmp_path / "file").read_bytes() == content
    assert (file.size, file.crc32) == (size, zlib.crc32(content)) == crc32_of(tmp_path / "file")


def test_an_existing_file_is_kept(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError):
        SummedFile(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_whole_blocks_pass_the_page_cache(tmp_path):
    """By what the kernel has of the file in memory afterwards: the end, which isn't a whole block."""
    file = SummedFile(tmp_path / "file")
    if not is_direct(file):
        pytest.skip("the file system has no direct writes")
    file.write(content_of(2 * BUFFER_BYTES + 100))
    assert is_direct(file)
    file.close()
    mapped = np.memmap(tmp_path / "file", np.uint8, "r")
    assert resident_pages(mapped) == 1


def resident_pages(mapped: np.memmap) -> int:
    pages = -(-len(mapped) // mmap.PAGESIZE)
    there = (ctypes.c_ubyte * pages)()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mincore(ctypes.c_void_p(mapped.ctypes.data), ctypes.c_size_t(len(mapped)), there) == 0
    return sum(page & 1 for page in there)


def test_where_direct_writes_are_refused_at_the_start_it_goes_the_usual_way(tmp_path, monkeypatch):
    real = fcntl.fcntl

    def refusing(file, command, *argument):
        if command == fcntl.F_SETFL and argument[0] & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(file, command, *argument)

    monkeypatch.setattr("propensity.scoring.summed_file.fcntl.fcntl", refusing)
    file = SummedFile(tmp_path / "file")
    assert not is_direct(file)
    file.write(content := content_of(BUFFER_BYTES + 1))
    file.close()
    assert (tmp_path / "file").read_bytes() == content


class Refusing:
    """A file whose system takes no direct writes of this size, or writes a piece of what it is given."""

    def __init__(self, file, most: int) -> None:
        self._file, self._most, self.refused = file, most, 0

    def write(self, data) -> int:
        direct = fcntl.fcntl(self._file, fcntl.F_GETFL) & os.O_DIRECT
        if direct and (self._most == 0 or self._file.tell() % BLOCK_BYTES):
            self.refused += 1
            raise OSError(errno.EINVAL, "Invalid argument")
        return self._file.write(data[: self._most or len(data)]) if not direct else self._partly(data)

    def _partly(self, data) -> int:
        fcntl.fcntl(self._file, fcntl.F_SETFL, fcntl.fcntl(self._file, fcntl.F_GETFL) & ~os.O_DIRECT)
        try:
            return self._file.write(data[: self._most])
        finally:
            fcntl.fcntl(self._file, fcntl.F_SETFL, fcntl.fcntl(self._file, fcntl.F_GETFL) | os.O_DIRECT)

    def __getattr__(self, name):
        return getattr(self._file, name)


@pytest.mark.parametrize("most", [0, 1_000_001], ids=["larger blocks", "a part of a block was written"])
def test_where_direct_writes_are_refused_later_nothing_is_lost(most, tmp_path):
    file = SummedFile(tmp_path / "file")
    if not is_direct(file):
        pytest.skip("the file system has no direct writes")
    file._file = Refusing(file._file, most)
    file.write(content := content_of(2 * BUFFER_BYTES + 17))
    file.close()
    assert file._file.refused == 1
    assert (tmp_path / "file").read_bytes() == content


def test_a_full_disk_is_told_once_and_closing_is_quiet(tmp_path):
    file = SummedFile(tmp_path / "file")
    file._file.close()
    file._file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115 - `close` closes it
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path / 'file'}'") as refused:
        file.write(content_of(BUFFER_BYTES))
    assert refused.value.errno == errno.ENOSPC
    assert file.error is refused.value
    file.close()
    assert file.closed
