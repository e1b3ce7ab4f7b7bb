"""The Parquet lake: one directory per table, hive-partitioned, a run's directory immutable once it appears."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from propensity.warehouse.staging import drop_abandoned, staged

_AS_OF_FORMAT = "%Y-%m-%dT%H-%M-%S.%fZ"


def as_of_partition(as_of: datetime) -> str:
    """Spell an instant for a directory name, e.g. `2017-11-01T04-00-00Z` (no colon: object stores dislike it)."""
    return as_of.astimezone(UTC).strftime(_AS_OF_FORMAT).replace(".000000Z", "Z")


@dataclass(frozen=True)
class Lake:
    """Paths and atomic appearance of runs below `root`."""

    root: Path

    def run_directory(self, table: str, region: str, run_id: str, as_of: datetime | None = None) -> Path:
        """Return where a run's files of a table live, whether or not they exist."""
        directory = self.root / table / f"region={region}"
        if as_of is not None:
            directory /= f"as_of={as_of_partition(as_of)}"
        return directory / f"run={run_id}"

    def has_run(self, table: str, region: str, run_id: str, as_of: datetime | None = None) -> bool:
        """Return whether that run is complete: a run's directory appears whole or not at all."""
        return self.run_directory(table, region, run_id, as_of).is_dir()

    def files(self, table: str, region: str, *, run_id: str = "*", as_of: datetime | None = None) -> list[Path]:
        """Return the finished Parquet files of a table in name order, of all runs and instants unless one is given."""
        partitions = ("", "as_of=*/") if as_of is None else (f"as_of={as_of_partition(as_of)}/",)
        directory = self.root / table / f"region={region}"
        return sorted(file for partition in partitions for file in directory.glob(f"{partition}run={run_id}/*.parquet"))

    def files_of_run(self, region: str, run_id: str) -> list[Path]:
        """Return every file of a run, of all tables and instants, in name order."""
        directories = (self.root.glob(f"*/region={region}/{between}run={run_id}") for between in ("", "as_of=*/"))
        return sorted(
            file for found in directories for directory in found for file in directory.rglob("*") if file.is_file()
        )

    @contextmanager
    def new_run(self, table: str, region: str, run_id: str, as_of: datetime | None = None) -> Iterator[Path]:
        """Yield an empty directory to write a run's files into; it appears by one rename when the block ends well.

        When the block raises, or the run already exists, the directory is removed and the lake stays as it was.

        Side effects: creates, renames and removes directories below `root`.
        """
        with self.staged() as directory:
            yield directory
            self.publish(directory, table, region, run_id, as_of)

    def publish(self, finished: Path, table: str, region: str, run_id: str, as_of: datetime | None = None) -> None:
        """Make a directory of finished files the run, by one rename; where the run exists already nothing happens.

        Args:
            finished: A directory on the lake's file system.
            table: Of the run, as the other arguments.

        Side effects: the files reach the disk; renames and creates directories below `root`.
        """
        for file in finished.iterdir():
            fsync(file)
        fsync(finished)
        final = self.run_directory(table, region, run_id, as_of)
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists():
            return
        try:
            finished.rename(final)
        except OSError as error:
            # Another process was faster with the same run; its directory holds the same rows.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return
        for directory in final.relative_to(self.root).parents:
            fsync(self.root / directory)

    def remove_run(self, table: str, region: str, run_id: str, as_of: datetime | None = None) -> bool:
        """Remove a run's files; return whether there were any.

        The directory leaves the table by one rename, so that no reader meets half of it, and is deleted after that;
        where the process is killed in between, `drop_abandoned` deletes the rest.

        Raises:
            OSError: It can't be renamed; it is whole then.

        Side effects: renames and deletes directories below `root`.
        """
        directory = self.run_directory(table, region, run_id, as_of)
        if not directory.is_dir():
            return False
        with self.staged() as aside:
            directory.rename(aside / directory.name)
            fsync(directory.parent)
        return True

    @contextmanager
    def staged(self) -> Iterator[Path]:
        """Yield an empty directory for unfinished files, on the lake's file system; it is removed when the block ends.

        Side effects: creates and removes directories below `root`; see `staging.staged`.
        """
        with staged(self._staging()) as directory:
            yield directory

    def drop_abandoned(self) -> int:
        """Remove staging directories of processes that have died; return how many.

        Side effects: deletes directories. Safe beside running processes: only dead owners' are touched.
        """
        return drop_abandoned(self._staging())

    def _staging(self) -> Path:
        # Below the root, so that the rename stays on one file system; hidden, so that no table's glob meets it.
        return self.root / ".staging"


def fsync(path: Path) -> None:
    """Wait until a file, or a directory's entries, have reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
