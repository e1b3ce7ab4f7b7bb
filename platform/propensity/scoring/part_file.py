"""One part's file: under a name of its own while it is written, moved to its place when it is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.scoring.job import ScoringJob
    from propensity.scoring.manifests import Staging
    from propensity.scoring.parts import Part
    from propensity.scoring.rows_file import Later, RowsFile
    from propensity.scoring.scorer import Scorer


class PartFile:
    """The file of one part, being written."""

    def __init__(self, staging: Staging, job: ScoringJob, part: Part, lanes: int = 1) -> None:
        """Open a new file; `close` removes it unless `finish` was reached.

        Args:
            staging: Of the run.
            job: The run.
            part: Which part.
            lanes: How many parts this process writes at the same time.

        Side effects: creates a file among the run's attempts.
        """
        self._staging, self._job, self._part = staging, job, part
        self._path = staging.attempt(part)
        self._rows: RowsFile | None = job.output.rows_file(self._path, job, lanes)

    def add(self, rows: pa.RecordBatch, later: Later) -> None:
        """Write the next rows, or leave it to `later`."""
        assert self._rows is not None, "the file is closed"
        self._rows.add(rows, later)

    def flush(self) -> None:
        """Wait until what was written is on the disk; nothing after `finish`."""
        if self._rows is not None:
            self._rows.flush()

    def finish(self, later: Later) -> None:
        """Leave it to `later` to write what is left and to put the file in its place, with its manifest.

        Side effects: those of `Staging.take`, by `later`.
        """
        later(self._finish)

    def close(self) -> None:
        """Drop the file unless it was finished; safe to repeat."""
        rows, self._rows = self._rows, None
        if rows is None:
            return
        try:
            rows.close()
        finally:
            self._path.unlink(missing_ok=True)

    def _finish(self) -> None:
        assert self._rows is not None, "the file is closed"
        self._rows.end()
        self._rows.close()
        written = self._rows.written()
        self._staging.take(self._job, self._part, self._path, file_bytes=written.size, file_crc32=written.crc32)
        self._rows = None


def now(task: Callable[[], None]) -> None:
    """Do the task at once: the `later` of an engine that writes where it scores."""
    task()


def score_part(
    job: ScoringJob,
    scorer: Scorer,
    file: PartFile,
    batches: Iterable[pa.RecordBatch],
    *,
    later: Later = now,
    scored_rows: Callable[[int], None] | None = None,
) -> None:
    """Score a part's batches into its file.

    Args:
        job: The run.
        scorer: From `job.open_scorer`.
        file: The part's.
        batches: From `job.read`.
        later: Takes writing off this thread; must keep the order.
        scored_rows: Told of each batch's rows when they were scored.

    Side effects: writes the file and, when all is written, its manifest.
    """
    for batch in batches:
        rows = job.rows_of(scorer, batch)
        file.add(rows, later)
        if scored_rows is not None:
            scored_rows(rows.num_rows)
    file.finish(later)
