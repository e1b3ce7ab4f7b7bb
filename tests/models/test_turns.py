from __future__ import annotations

import threading
import time

import pytest

from propensity.models.turns import take_turns


@pytest.mark.parametrize(("n_pieces", "threads"), [(0, 2), (1, 4), (7, 1), (50, 3)])
def test_every_piece_is_done_once(n_pieces, threads):
    done, workers = [], []

    def worker():
        workers.append(threading.current_thread())
        return done.append

    take_turns(n_pieces, threads, worker)
    assert sorted(done) == list(range(n_pieces))
    assert len(set(workers)) == len(workers) <= max(1, min(threads, n_pieces))


def test_whoever_is_free_takes_the_next():
    """The first piece waits until another thread has done all the others."""
    others = threading.Barrier(2)
    done = []

    def worker():
        def do(number):
            if number == 0:
                others.wait(timeout=20)
            done.append(number)
            if len(done) == 9 and number:
                others.wait(timeout=20)

        return do

    take_turns(10, 2, worker)
    assert done == [*range(1, 10), 0]


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_ends_the_work_and_is_raised(threads):
    done = []

    def worker():
        def do(number):
            if number == 2:
                raise ValueError("piece 2")
            time.sleep(0.01)
            done.append(number)

        return do

    with pytest.raises(ValueError, match="piece 2"):
        take_turns(1000, threads, worker)
    assert len(done) < 50
    assert not any(thread.name == "scoring" for thread in threading.enumerate())
