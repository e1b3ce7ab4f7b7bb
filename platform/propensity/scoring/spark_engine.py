"""Scoring on a Spark cluster: the same parts as the local engine's, a task for each or some, to the same bytes.

A worker opens the model by its path, reads its part of the lake, and stages file and manifest as the local engine does
(`manifests.Staging`). Spark runs a task again when its worker dies, and runs slow ones twice if told to: attempts write
under names of their own and come to the same bytes, so it doesn't matter which is the last. The driver publishes. All
machines see the home under the same path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from threadpoolctl import ThreadpoolController

from propensity.errors import ArtifactError, EngineError
from propensity.models.artifact import read_artifact
from propensity.scoring.behind import Behind, flushing
from propensity.scoring.part_file import PartFile, score_part
from propensity.scoring.parts import parts_of
from propensity.scoring.process_memory import settle_memory
from propensity.spark_session import SMALL_JVMS, raised, spark_context, why_it_stopped
from propensity.spark_waiting import idle_told

if TYPE_CHECKING:
    from pathlib import Path

    from propensity.progress import Progress
    from propensity.scoring.job import ScoringJob
    from propensity.scoring.manifests import Staging
    from propensity.scoring.parts import Part
    from propensity.scoring.scorer import Scorer
    from propensity.settings import Settings

POLL_SECONDS: Final = 0.5
KEPT: Final = "What is finished is kept: the same command scores the rest."


@dataclass(frozen=True)
class SparkTask:
    """What a worker does with the parts of its partition. Holds values and paths only: it is sent to the workers.

    Attributes:
        settings: Of the home; the same path on every machine.
        job: The run.
        artifact: The model's directory.
        staging: The unfinished run's.
    """

    settings: Settings
    job: ScoringJob
    artifact: Path
    staging: Staging

    def __call__(self, parts: Iterator[Part]) -> Iterator[int]:
        """Score and write the parts that aren't there; yield the numbers of all.

        Raises:
            ArtifactError: The model at that path isn't the run's.

        Side effects: those of `score_part`.
        """
        these = list(parts)
        # Another attempt may have finished some whose worker died before it could say so.
        if missing := [part for part in these if not self.staging.has(self.job, part)]:
            self._score(missing)
        yield from (part.number for part in these)

    def _score(self, parts: Sequence[Part]) -> None:
        job, scorer = _opened(self)
        with (
            ThreadpoolController().limit(limits=1, user_api="blas"),
            ExitStack() as files,
            ThreadPoolExecutor(1, thread_name_prefix="writing") as pool,
        ):
            behind = Behind(pool)
            for part in parts:
                # Left after the writing thread, when nothing is written to it any more.
                file = files.enter_context(closing(PartFile(self.staging, job, part)))
                batches = job.read(self.settings, part)
                score_part(job, scorer, file, batches, later=flushing(behind.do, file))
            behind.catch_up()


_open: dict[tuple[Path, ScoringJob], tuple[ScoringJob, Scorer]] = {}
"""What this worker's process has open, by what it is of: one scorer at a time, and the job that has its arrays."""


def _opened(task: SparkTask) -> tuple[ScoringJob, Scorer]:
    """Open the model once in a worker's process, however many of a run's parts it gets."""
    key = task.artifact, task.job
    if key not in _open:
        artifact = read_artifact(task.artifact)
        if artifact.sha256 != task.job.artifact_sha256:
            raise ArtifactError(
                f"{task.artifact} isn't the model that the driver read. Do all machines see the same home?"
            )
        _open.clear()
        _open[key] = task.job, task.job.open_scorer(task.settings, artifact.model)
        settle_memory()  # for good: Spark's worker collects garbage after every task, too
    return _open[key]


def score_parts(
    settings: Settings, job: ScoringJob, artifact: Path, staging: Staging, parts: Sequence[Part], progress: Progress
) -> None:
    """Score and write those of the parts that the staging directory doesn't have yet, on Spark.

    Args:
        settings: `scoring.spark_master` and `scoring.spark`.
        job: The run.
        artifact: The model's directory.
        staging: Prepared.
        parts: All parts of the run.
        progress: Told of customers, as tasks end.

    Raises:
        RuntimeMissingError: pyspark or Java isn't installed.
        EngineError: The master can't be reached, or a part failed as often as `spark.task.maxFailures` allows.

    Side effects: files and manifests in the staging directory; a Spark application meanwhile, unless one is running in
    this process. After an error what was finished is there, and the next attempt goes on from it.
    """
    missing = [part for part in parts if not staging.has(job, part)]
    total, left = sum(len(part.rows) for part in parts), sum(len(part.rows) for part in missing)
    progress("scoring", total - left, total)
    if not missing:
        return
    with spark_context(settings, f"propensity {job.run_id}", SMALL_JVMS) as context:
        try:
            n_tasks = tasks_of(missing)
            tasks = context.parallelize(missing, n_tasks).mapPartitions(SparkTask(settings, job, artifact, staging))
            _run(
                context,
                job,
                tasks,
                lambda ended: progress("scoring", total - left + left * ended // n_tasks, total),
            )
        except Exception as error:
            if not type(error).__module__.startswith(("py4j", "pyspark")):
                raise
            raise EngineError(f"Spark gave up. {_told(error, settings)} {KEPT}") from error
    progress("scoring", total, total)


def tasks_of(parts: Sequence[Part]) -> int:
    """Return how many tasks share the parts.

    Parts that are small because they are held share one: a task costs Spark some hundredths of a second, and while a
    part of it is flushed the next is scored.
    """
    return min(len(parts), len(parts_of(sum(len(part.rows) for part in parts))))


def _run(context: Any, job: ScoringJob, tasks: Any, progress: Callable[[int], None]) -> None:
    """Run the tasks to their end; tell how many have ended well. Raises what Spark raises."""
    with ThreadPoolExecutor(1) as pool, idle_told(context):
        running = pool.submit(_collected, context, job, tasks)
        try:
            while not wait([running], POLL_SECONDS).done:
                progress(_ended(context, job))
        finally:
            if not running.done():  # Ctrl-C
                context.cancelJobGroup(job.run_id)
        running.result()


def _collected(context: Any, job: ScoringJob, tasks: Any) -> None:
    """Run the tasks in this thread, whose job group is its own."""
    context.setJobGroup(job.run_id, f"scoring {job.region}, {job.snapshot.as_of:%Y-%m-%d}")
    tasks.collect()


def _ended(context: Any, job: ScoringJob) -> int:
    """Return how many tasks have ended well."""
    tracker, ended = context.statusTracker(), 0
    for number in tracker.getJobIdsForGroup(job.run_id):
        found = tracker.getJobInfo(number)
        for stage in [] if found is None else found.stageIds:
            info = tracker.getStageInfo(stage)
            ended += 0 if info is None else info.numCompletedTasks
    return ended


def _told(error: Exception, settings: Settings) -> str:
    """Return in a line what a task raised, else why Spark ended."""
    told = raised(error)
    return told[0] if told and "stopped SparkContext" not in str(error) else why_it_stopped(settings)
