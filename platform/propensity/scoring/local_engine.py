"""Scoring on this machine's cores: as many parts at once as there are threads, each written while it is scored on.

A lane is two threads: one reads and scores, one compresses and writes what was scored before, or sees a whole file to
the disk. Both leave Python's lock to the other lanes for nearly all of that. Memory is that of a few batches per lane,
or of a part and a quarter where they are written whole, however many customers there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from threading import Event, Lock
from typing import TYPE_CHECKING

from threadpoolctl import ThreadpoolController

from propensity.scoring.behind import Behind
from propensity.scoring.part_file import PartFile, score_part
from propensity.scoring.process_memory import settled_memory

if TYPE_CHECKING:
    from propensity.progress import Progress
    from propensity.scoring.job import ScoringJob
    from propensity.scoring.manifests import Staging
    from propensity.scoring.parts import Part
    from propensity.scoring.scorer import Scorer
    from propensity.settings import Settings


def score_parts(
    settings: Settings, job: ScoringJob, scorer: Scorer, staging: Staging, parts: Sequence[Part], progress: Progress
) -> None:
    """Score and write those of the parts that the staging directory doesn't have yet.

    Args:
        settings: `threads` is the number of lanes.
        job: The run.
        scorer: From `job.open_scorer`; used by all lanes.
        staging: Prepared.
        parts: All parts of the run.
        progress: Told of customers, one call at a time, from any lane.

    Raises:
        MissingSnapshotError, WarehouseError: The snapshot's files are gone or damaged.
        OSError: The disk is full, or such.

    Side effects: files and manifests in the staging directory. After an error those of finished parts are there.
    """
    n_lanes = min(settings.threads, len(parts))
    lanes = _Lanes(n_lanes, settings, job, scorer, staging, parts, progress)
    with settled_memory(), _one_blas_thread(), ThreadPoolExecutor(n_lanes, thread_name_prefix="scoring") as pool:
        running = [pool.submit(lanes.work) for _ in range(n_lanes)]
        try:
            wait(running, return_when=FIRST_EXCEPTION)
        finally:
            lanes.stop()  # the others, after one has failed or Ctrl-C
        for lane in running:
            lane.result()


class _Lanes:
    """What the lanes share."""

    def __init__(
        self,
        n_lanes: int,
        settings: Settings,
        job: ScoringJob,
        scorer: Scorer,
        staging: Staging,
        parts: Sequence[Part],
        progress: Progress,
    ) -> None:
        self._n_lanes = n_lanes
        self._settings, self._job, self._scorer, self._staging = settings, job, scorer, staging
        self._left = deque(parts)
        self._total = sum(len(part.rows) for part in parts)
        self._done = 0
        self._progress, self._reporting = progress, Lock()
        self._stopped = Event()

    def stop(self) -> None:
        """Let every lane end after the batch it is at."""
        self._stopped.set()

    def work(self) -> None:
        """Score one part after the other until none is left or another lane has failed; in a thread of its own."""
        with (
            suppress(_StoppedError),
            ExitStack() as files,
            ThreadPoolExecutor(1, thread_name_prefix="writing") as pool,
        ):
            behind = Behind(pool)
            while (part := self._next()) is not None:
                if self._staging.has(self._job, part):
                    self._report(len(part.rows))
                    continue
                # Left after the writing thread, when nothing is written to it any more.
                file = files.enter_context(closing(PartFile(self._staging, self._job, part, self._n_lanes)))
                batches = self._job.read(self._settings, part)
                score_part(self._job, self._scorer, file, batches, later=behind.do, scored_rows=self._report)
            behind.catch_up()

    def _next(self) -> Part | None:
        try:
            return None if self._stopped.is_set() else self._left.popleft()
        except IndexError:
            return None

    def _report(self, rows: int) -> None:
        with self._reporting:
            self._done += rows
            self._progress("scoring", self._done, self._total)
        if self._stopped.is_set():
            raise _StoppedError


class _StoppedError(Exception):
    """Another lane has failed; that one's error is the one to tell."""


def _one_blas_thread() -> AbstractContextManager[object]:
    """Keep BLAS to one thread per lane while the lanes run.

    A scorer does so for each call, but it sets what holds for the whole process: of two at once, the first to end would
    give the other one's products more threads.
    """
    limit: AbstractContextManager[object] = ThreadpoolController().limit(limits=1, user_api="blas")
    return limit
