"""A run's directory appears whole or not at all, whatever happens to its writer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from propensity.warehouse.lake import Lake, as_of_partition

AS_OF = datetime(2017, 11, 1, 4, tzinfo=UTC)
WRITER = """
import sys, time
from pathlib import Path
from propensity.warehouse.lake import Lake
with Lake(Path(sys.argv[1])).new_run("events", "us", "r1") as directory:
    (directory / "part-0.parquet").write_bytes(b"half a fi")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def write(directory: Path, parts: int = 1) -> None:
    for part in range(parts):
        pq.write_table(pa.table({"n": list(range(100))}), directory / f"part-{part}.parquet")


def test_a_run_appears_with_its_files_under_its_partitions(lake: Lake) -> None:
    with lake.new_run("labels", "us", "r1", AS_OF) as directory:
        write(directory)
        assert not lake.has_run("labels", "us", "r1", AS_OF)
    [file] = lake.files("labels", "us")
    assert str(file.relative_to(lake.root)) == "labels/region=us/as_of=2017-11-01T04-00-00Z/run=r1/part-0.parquet"
    assert lake.files("labels", "us", as_of=AS_OF, run_id="r1") == [file]
    assert lake.files("labels", "us", run_id="r2") == []
    assert lake.has_run("labels", "us", "r1", AS_OF)


def test_partition_names_keep_microseconds_and_time_zone() -> None:
    assert as_of_partition(AS_OF.replace(microsecond=5)) == "2017-11-01T04-00-00.000005Z"


def test_an_exception_leaves_nothing(lake: Lake) -> None:
    def fail() -> None:
        with lake.new_run("events", "us", "r1") as directory:
            write(directory)
            raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        fail()
    assert not lake.has_run("events", "us", "r1")
    assert list((lake.root / ".staging").iterdir()) == []


def test_a_run_is_never_overwritten(lake: Lake) -> None:
    with lake.new_run("events", "us", "r1") as directory:
        (directory / "first").touch()
    with lake.new_run("events", "us", "r1") as directory:
        (directory / "second").touch()
    assert [file.name for file in lake.run_directory("events", "us", "r1").iterdir()] == ["first"]


def test_of_two_writers_of_one_run_one_wins(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    # Both have looked before either renames.
    monkeypatch.setattr(Path, "exists", lambda _path: False)
    for name in ("first", "second"):
        with lake.new_run("events", "us", "r1") as directory:
            (directory / name).touch()
    assert [file.name for file in lake.run_directory("events", "us", "r1").iterdir()] == ["first"]


def test_readers_never_see_part_of_a_run(lake: Lake) -> None:
    parts, runs = 4, 25
    done = threading.Event()
    seen: list[int] = []

    def poll() -> None:
        while not done.is_set():
            for run in range(runs):
                files = lake.files("events", "us", run_id=f"r{run}")
                if files:
                    seen.append(len(files))
                    assert all(pq.read_metadata(file).num_rows == 100 for file in files)

    failures: list[BaseException] = []

    def reader() -> None:
        try:
            poll()
        except BaseException as error:  # noqa: BLE001 - reported by the test itself
            failures.append(error)

    threads = [threading.Thread(target=reader) for _ in range(2)]
    for thread in threads:
        thread.start()
    for run in range(runs):
        with lake.new_run("events", "us", f"r{run}") as directory:
            write(directory, parts)
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert seen
    assert set(seen) == {parts}


def test_a_killed_writer_leaves_the_table_untouched_and_is_tidied_up(lake: Lake) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(lake.root)], stdout=subprocess.PIPE, text=True)
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        assert lake.drop_abandoned() == 0, "its owner lives"
        writer.send_signal(signal.SIGKILL)
    assert lake.files("events", "us") == []
    assert not lake.has_run("events", "us", "r1")
    assert len(list((lake.root / ".staging").iterdir())) == 1
    assert lake.drop_abandoned() == 1
    assert list((lake.root / ".staging").iterdir()) == []


def test_only_the_dead_are_tidied_up(lake: Lake) -> None:
    with lake.staged() as mine:
        # A dead process's directory whose id a living one has now, as happens in containers.
        reused = mine.parent / f"{os.getpid()}-dead"
        reused.mkdir()
        assert lake.drop_abandoned() == 1
        assert mine.is_dir()
        assert not reused.exists()
    assert not mine.exists()


def test_without_file_locks_the_process_id_tells(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_arguments: object) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with lake.staged() as mine:
        (mine.parent / "4194999-gone").mkdir()
        assert lake.drop_abandoned() == 1
        assert mine.is_dir()


def test_a_directory_whose_owner_died_before_locking_it_is_dropped(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    dead = subprocess.Popen(["true"])
    dead.wait()
    died, newborn = (tmp_path / ".staging" / f".{dead.pid}-{name}" for name in ("died", "newborn"))
    died.mkdir(parents=True)
    newborn.mkdir()
    os.utime(died, (0, 0))
    assert lake.drop_abandoned() == 1
    assert not died.exists()
    assert newborn.exists()
