"""Working ahead: a thread makes the next items while the caller uses this one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, Queue
from threading import Event, Thread
from typing import Final, TypeVar

T = TypeVar("T")
STOP_SECONDS: Final = 0.05
"""Between looks at whether a thread that was told to stop has."""


class _End:
    """What comes after the last item: the error that ended them, if one did."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


@contextmanager
def prefetched(items: Iterator[T], depth: int) -> Iterator[Iterator[T]]:
    """Give the same items in the same order, made by a thread that is `depth` items ahead at most.

    An error in the thread is raised where the next item would have come. The thread has ended when the block ends,
    however it ends; it finishes the item that it is at. `items` is used by no other thread meanwhile.

    Args:
        items: Made by code that may run beside the caller's.
        depth: Items that wait at most, at least 1; one more is in the making.
    """
    ready: Queue[T | _End] = Queue(maxsize=depth)
    stopped = Event()

    def produce() -> None:
        end = _End()
        try:
            for item in items:
                ready.put(item)
                if stopped.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - raised again where the caller waits
            end = _End(error)
        ready.put(end)

    def consume() -> Iterator[T]:
        while not isinstance(item := ready.get(), _End):
            yield item
        if item.error is not None:
            raise item.error

    # A daemon: a process that ends for another reason doesn't wait for it.
    thread = Thread(target=produce, name="prefetch", daemon=True)
    thread.start()
    try:
        yield consume()
    finally:
        stopped.set()
        while thread.is_alive():
            with suppress(Empty):
                while True:
                    ready.get_nowait()  # makes room where the thread waits for it
            thread.join(STOP_SECONDS)
