"""Threads that take numbered pieces of work in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Lock, Thread


def take_turns(n_pieces: int, threads: int, worker: Callable[[], Callable[[int], None]]) -> None:
    """Do pieces 0 to `n_pieces` - 1, each once: whichever thread is free takes the next.

    A thread whose core is taken by another process leaves more to the others. Threads are started for the call: that
    costs less than a piece, and nothing is left over that a forked process would wait for.

    Args:
        n_pieces: Number of pieces.
        threads: Threads at most, the caller's among them.
        worker: Called once in each thread; returns what does the piece of a number, and releases the GIL where that
            takes long.

    Raises:
        Exception: The first that a piece raised; those that had not begun are left out then.
    """
    pieces = _Pieces(n_pieces)
    others = [Thread(target=pieces.work, args=(worker,), name="scoring") for _ in range(min(threads, n_pieces) - 1)]
    for thread in others:
        thread.start()
    try:
        pieces.work(worker)
    finally:
        pieces.stop()
        for thread in others:
            thread.join()
    if pieces.error is not None:
        raise pieces.error


class _Pieces:
    def __init__(self, n_pieces: int) -> None:
        self._numbers: Iterator[int] = iter(range(n_pieces))
        self._lock = Lock()
        self.error: BaseException | None = None

    def work(self, worker: Callable[[], Callable[[int], None]]) -> None:
        """Take pieces until there are none."""
        try:
            do = worker()
            while (number := self._next()) is not None:
                do(number)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self.stop(error)

    def stop(self, error: BaseException | None = None) -> None:
        """Leave out the pieces that have not begun."""
        with self._lock:
            self._numbers = iter(())
            self.error = self.error or error

    def _next(self) -> int | None:
        with self._lock:
            return next(self._numbers, None)
