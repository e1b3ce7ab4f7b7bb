"""What writes a part's rows: one class per library, of which each output form names one (`output_forms.FORMS`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from propensity.scoring.job import ScoringJob

Later = Callable[[Callable[[], None]], None]
"""Does a task on another thread, or at once; keeps the order."""


@dataclass(frozen=True)
class Written:
    """A closed file.

    Attributes:
        size: Its bytes.
        crc32: Their CRC-32.
    """

    size: int
    crc32: int


class RowsFile(Protocol):
    """A Parquet file being written. Its bytes depend on the job and the rows alone.

    Attributes:
        holds_part: All rows are in memory until the last one came.
        writer: The library.
    """

    holds_part: ClassVar[bool]
    writer: ClassVar[str]

    def __init__(self, path: Path, job: ScoringJob, lanes: int) -> None:
        """Open a new file.

        Args:
            path: Where no file is yet.
            job: The run.
            lanes: How many files this process writes at the same time.

        Side effects: creates it.
        """

    def add(self, rows: pa.RecordBatch, later: Later) -> None:
        """Take the next rows, in the job's schema."""

    def end(self) -> None:
        """Write what is left, when no rows follow, in the thread of the tasks."""

    def flush(self) -> None:
        """Wait until what was written so far is on the disk."""

    def close(self) -> None:
        """Close the file, ended or not, in the thread of the last task or after it; safe to repeat."""

    def written(self) -> Written:
        """Return the sum of the closed file."""
