"""What a stream from Spark is put down in: gone with the stream, or with the next one's beginning."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from propensity.feast_spark.stream_directory import PREFIX, stream_directory

READER = """
import sys
from propensity.feast_spark.stream_directory import stream_directory

with stream_directory(sys.argv[1]) as directory:
    (directory / "part-0.parquet").touch()
    print(directory, flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_stream_left_goes_with_the_next(tmp_path):
    (tmp_path / "mine").mkdir()
    command = [sys.executable, "-c", READER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        left = Path(reader.stdout.readline().strip())
        os.utime(left, (0, 0))
        with stream_directory(str(tmp_path)) as own:
            assert sorted(tmp_path.iterdir()) == sorted([left, own, tmp_path / "mine"]), "its owner lives"
        reader.kill()
    os.utime(left, (0, 0))
    assert list(left.iterdir())
    with stream_directory(str(tmp_path)) as own:
        assert sorted(tmp_path.iterdir()) == sorted([own, tmp_path / "mine"])
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]


def test_one_that_was_just_made_may_yet_be_locked(tmp_path):
    (tmp_path / f"{PREFIX}new").mkdir()
    with stream_directory(str(tmp_path)):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [f"{PREFIX}new"]


def test_without_file_locks_nothing_is_taken_for_abandoned(tmp_path, monkeypatch):
    def no_locks(*_arguments):
        raise OSError("no locks here")

    monkeypatch.setattr("fcntl.flock", no_locks)
    (old := tmp_path / f"{PREFIX}old").mkdir()
    os.utime(old, (0, 0))
    with stream_directory(str(tmp_path)):
        assert old.exists()


def test_an_error_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), stream_directory(str(tmp_path / "new")):
        raise RuntimeError
    assert list((tmp_path / "new").iterdir()) == []
