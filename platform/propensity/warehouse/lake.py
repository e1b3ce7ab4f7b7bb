"""The Parquet lake: one directory per table, hive-partitioned, a run's directory immutable once it appears."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

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
        """Return the finished Parquet files of a table in name order, across its runs unless one is named."""
        partition = "" if as_of is None else f"as_of={as_of_partition(as_of)}/"
        return sorted((self.root / table / f"region={region}").glob(f"{partition}run={run_id}/*.parquet"))

    @contextmanager
    def new_run(self, table: str, region: str, run_id: str, as_of: datetime | None = None) -> Iterator[Path]:
        """Yield an empty directory to write a run's files into; it appears by one rename when the block ends well.

        When the block raises, or the run already exists, the directory is removed and the lake stays as it was.

        Side effects: creates, renames and removes directories below `root`.
        """
        staged = self._staging() / f"{os.getpid()}-{uuid.uuid4().hex}"
        staged.mkdir(parents=True)
        try:
            yield staged
            for file in staged.iterdir():
                _fsync(file)
            _fsync(staged)
            final = self.run_directory(table, region, run_id, as_of)
            final.parent.mkdir(parents=True, exist_ok=True)
            if not final.exists():
                staged.rename(final)
                _fsync(final.parent)
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    def drop_abandoned(self) -> int:
        """Remove staging directories of processes that have died; return how many.

        Side effects: deletes directories. Safe beside running processes: only dead owners' are touched.
        """
        dropped = 0
        staging = self._staging()
        for directory in staging.iterdir() if staging.is_dir() else ():
            owner = directory.name.split("-", 1)[0]
            if owner.isdigit() and not Path(f"/proc/{owner}").exists():
                shutil.rmtree(directory, ignore_errors=True)
                dropped += 1
        return dropped

    def _staging(self) -> Path:
        # Below the root, so that the rename stays on one file system; hidden, so that no table's glob meets it.
        return self.root / ".staging"


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
