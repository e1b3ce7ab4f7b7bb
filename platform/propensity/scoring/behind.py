"""Writing on a thread of its own, behind the one that scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future, ThreadPoolExecutor

    from propensity.scoring.part_file import PartFile
    from propensity.scoring.rows_file import Later


class Behind:
    """Does tasks in order on another thread, at most one ahead of it: who gives the next one waits for the last."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        """Give tasks to a pool of one thread."""
        self._pool = pool
        self._last: Future[None] | None = None

    def do(self, task: Callable[[], None]) -> None:
        """Wait for the last task and begin this one; raise what the last raised."""
        self.catch_up()
        self._last = self._pool.submit(task)

    def catch_up(self) -> None:
        """Wait for the last task; raise what it raised."""
        if self._last is not None:
            self._last.result()


def flushing(later: Later, file: PartFile) -> Later:
    """Return `later` with a flush of the file after each task, so that it reaches the disk as it grows.

    For who has nothing to score while the finished file is flushed: little of it is left then.
    """

    def do(task: Callable[[], None]) -> None:
        def written() -> None:
            task()
            file.flush()

        later(written)

    return do
