"""What is finished of a run that isn't published yet: its parts' files, each vouched for by a manifest.

```
run.json                     the created_timestamp of all rows, fixed by the first attempt
attempts/<name>.<random>     files being written
parts/part-00000.parquet     finished files; this directory becomes the published run
manifests/part-00000.json    what its file was made of, and its sum; written last
```

A file counts when its manifest is there, is about the same job and has the file's size and sum. A second attempt at a
part writes the same bytes, so it doesn't matter which of two gets there last.
"""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from propensity.scoring.sums import crc32_of
from propensity.warehouse.lake import fsync

if TYPE_CHECKING:
    from collections.abc import Sequence

    from propensity.scoring.job import ScoringJob
    from propensity.scoring.parts import Part


@dataclass(frozen=True)
class Manifest:
    """A finished part.

    Attributes:
        job: What it was made of, by name: `described`.
        part: Its number.
        first_row: Number of its first row in the snapshot.
        rows: How many it has.
        file_bytes: Size of its file.
        file_crc32: The file's CRC-32. It guards against damage, at less than half of what SHA-256 costs.
    """

    job: dict[str, str]
    part: int
    first_row: int
    rows: int
    file_bytes: int
    file_crc32: int


def described(job: ScoringJob) -> dict[str, str]:
    """Return what a job's files are made of; files of equal jobs have equal bytes."""
    others = {} if job.features is None else {"features_sha256": job.features.sha256}
    if job.output.writer != "pyarrow":
        # Where it is the one there was before there were others it isn't named: what is finished of a run stays so.
        others["writer"] = job.output.writer
    return others | {
        "region": job.region,
        "run_id": job.run_id,
        "created_timestamp": job.created_timestamp.isoformat(),
        "snapshot": job.snapshot.run_id,
        "as_of": job.snapshot.as_of.isoformat(),
        "artifact_sha256": job.artifact_sha256,
        "model_version": job.model_version,
        "top_k": str(job.top_k),
        "output": json.dumps(job.output.described(), sort_keys=True),
        "sparse_weights": job.sparse_weights,
    }


@dataclass(frozen=True)
class Staging:
    """The directory of an unfinished run, which the caller holds (`warehouse.unfinished`)."""

    directory: Path

    @property
    def parts(self) -> Path:
        """The finished files."""
        return self.directory / "parts"

    def prepare(self, created_timestamp: datetime) -> datetime:
        """Make ready for an attempt and return the rows' created_timestamp: the first attempt's.

        Args:
            created_timestamp: For the first attempt.

        Side effects: creates directories and `run.json`; removes what a dead process was writing.
        """
        shutil.rmtree(self._attempts, ignore_errors=True)
        for directory in (self._attempts, self.parts, self._manifests):
            directory.mkdir(parents=True, exist_ok=True)
        begun = _read(self.directory / "run.json")
        try:
            return datetime.fromisoformat(begun["created_timestamp"])
        except (KeyError, TypeError, ValueError):
            self._write(self.directory / "run.json", {"created_timestamp": created_timestamp.isoformat()})
            return created_timestamp

    def has(self, job: ScoringJob, part: Part) -> bool:
        """Return whether the part is finished, for this very job, and its file whole. Reads the file. Read-only."""
        try:
            manifest = Manifest(**_read(self._manifest(part)))
            return (
                manifest.job == described(job)
                and (manifest.part, manifest.first_row, manifest.rows) == (part.number, part.rows.start, len(part.rows))
                and (manifest.file_bytes, manifest.file_crc32) == crc32_of(self.parts / part.name)
            )
        except (TypeError, FileNotFoundError):
            return False

    def keep(self, parts: Sequence[Part]) -> None:
        """Keep no file but those of these parts, which are all of the run's.

        Side effects: removes what another version, which splits a snapshot in another way, has finished of the run.
        """
        names = {part.name for part in parts}
        for file in self.parts.iterdir():
            if file.name not in names:
                file.unlink()

    def attempt(self, part: Part) -> Path:
        """Return a new path for writing the part's file, which no other attempt has."""
        return self._attempts / f"{part.name}.{uuid.uuid4().hex}"

    def take(self, job: ScoringJob, part: Part, written: Path, *, file_bytes: int, file_crc32: int) -> None:
        """Make a written file the part's, then say so in its manifest.

        Args:
            job: The run's.
            part: Which part.
            written: The closed file; it is moved.
            file_bytes: Its size.
            file_crc32: Its sum.

        Side effects: the file reaches the disk before its manifest does.
        """
        fsync(written)
        written.rename(self.parts / part.name)
        fsync(self.parts)
        manifest = Manifest(described(job), part.number, part.rows.start, len(part.rows), file_bytes, file_crc32)
        self._write(self._manifest(part), asdict(manifest))

    @property
    def _attempts(self) -> Path:
        return self.directory / "attempts"

    @property
    def _manifests(self) -> Path:
        return self.directory / "manifests"

    def _manifest(self, part: Part) -> Path:
        return (self._manifests / part.name).with_suffix(".json")

    def _write(self, path: Path, content: dict[str, Any]) -> None:
        """Write JSON, whole or not at all."""
        writing = self._attempts / f"{path.name}.{uuid.uuid4().hex}"
        writing.write_text(json.dumps(content, indent=1) + "\n")
        fsync(writing)
        writing.rename(path)
        fsync(path.parent)


def _read(path: Path) -> dict[str, Any]:
    """Return a JSON object; an empty one where there is none that can be read."""
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
