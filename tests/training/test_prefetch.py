from __future__ import annotations

import threading
import time

import pytest

from propensity.training.prefetch import prefetched


def threads() -> int:
    return sum(thread.name == "prefetch" for thread in threading.enumerate())


def test_the_same_items_in_the_same_order():
    with prefetched(iter(range(1000)), 2) as items:
        assert list(items) == list(range(1000))
    assert threads() == 0


def test_it_works_ahead_but_no_further_than_told():
    made = []

    def numbers():
        for number in range(100):
            made.append(number)
            yield number

    with prefetched(numbers(), 3) as items:
        next(items)
        deadline = time.monotonic() + 10
        while len(made) < 5 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.02)
        assert len(made) == 5  # one in use, three that wait, one that waits to wait
    assert threads() == 0


def test_an_error_in_the_thread_is_raised_where_its_item_would_have_come():
    def numbers():
        yield 1
        yield 2
        raise OSError("the disk is gone")

    with prefetched(numbers(), 1) as items:
        assert (next(items), next(items)) == (1, 2)
        with pytest.raises(OSError, match="the disk is gone"):
            next(items)
    assert threads() == 0


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_of_the_caller_ends_the_thread(error):
    def for_ever():
        while True:
            yield 0

    with pytest.raises(error), prefetched(for_ever(), 2) as items:  # noqa: PT012 - the block is what is tested
        next(items)
        raise error
    assert threads() == 0
