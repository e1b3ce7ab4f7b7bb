"""A run's rows in chunks of bounded size, from any place in it, and how far they have got."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from pathlib import Path

MOST_VALUES: Final = 400_000
"""Numbers in a chunk: as Feast's Python objects they take about 100 bytes each."""


@dataclass(frozen=True)
class Place:
    """A place in a run: after so many rows of a file, counted from 0.

    Attributes:
        file: Name of one of the run's files; they are read in name order.
        rows: How many of its rows lie before the place.
        done: How many of the run's rows do.
    """

    file: str
    rows: int
    done: int


def read_chunks(
    directory: Path, columns: Sequence[str], most_rows: int, after: Place | None = None
) -> Iterator[tuple[pa.RecordBatch, Place]]:
    """Yield a run's rows in order, each chunk with the place behind it. Read-only.

    Args:
        directory: The run's files.
        columns: To read.
        most_rows: In a chunk; fewer where rows are wide, see `MOST_VALUES`.
        after: Where to go on; by default the run's beginning.

    Raises:
        FileNotFoundError: A file is gone.
        KeyError: A file lacks a column.
    """
    done = 0 if after is None else after.done
    for file in sorted(directory.glob("*.parquet")):
        if after is not None and file.name < after.file:
            continue
        skipped = after.rows if after is not None and file.name == after.file else 0
        with pq.ParquetFile(file, pre_buffer=False) as parquet:
            if missing := set(columns) - set(parquet.schema_arrow.names):
                raise KeyError(f"{file} lacks {', '.join(sorted(missing))}")
            rows = skipped
            for batch in _batches(parquet, columns, skipped, most_rows):
                rows += batch.num_rows
                done += batch.num_rows
                yield batch, Place(file.name, rows, done)


def _batches(parquet: pq.ParquetFile, columns: Sequence[str], skipped: int, most_rows: int) -> Iterator[pa.RecordBatch]:
    metadata = parquet.metadata
    before, groups = 0, list(range(metadata.num_row_groups))
    while groups and before + metadata.row_group(groups[0]).num_rows <= skipped:
        before += metadata.row_group(groups.pop(0)).num_rows
    left = skipped - before
    for batch in parquet.iter_batches(_chunk_rows(metadata, columns, most_rows), groups, columns=list(columns)):
        rest = batch.slice(left)
        left = max(0, left - batch.num_rows)
        if rest.num_rows:
            yield rest


def _chunk_rows(metadata: pq.FileMetaData, columns: Sequence[str], most_rows: int) -> int:
    """Return how many rows of a file make a chunk: by the lengths of its lists, which the footer tells."""
    values = rows = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        rows += group.num_rows
        chunks = (group.column(place) for place in range(group.num_columns))
        values += sum(chunk.num_values for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns)
    return max(1, min(most_rows, MOST_VALUES * rows // max(values, 1)))


class Bookmark:
    """How far a run has got into an online view, in a small file that outlives a kill."""

    def __init__(self, file: Path) -> None:
        """Take the file, which needn't exist."""
        self._file = file

    def read(self) -> Place | None:
        """Return the place, or None where none is kept."""
        try:
            return Place(**json.loads(self._file.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None  # whoever can't tell begins at the beginning

    def keep(self, place: Place) -> None:
        """Replace the file by one rename."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        written = self._file.with_suffix(f".{os.getpid()}")
        written.write_text(json.dumps(asdict(place)))
        # Another process that had the same run may be done with it, and have cleared its bookmarks away.
        with suppress(FileNotFoundError):
            written.replace(self._file)
