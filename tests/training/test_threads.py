from __future__ import annotations

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from propensity.training import threads
from propensity.training.mxnet_runtime import mx, view


@pytest.mark.parametrize("n", [0, 1, 3, 1000])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_every_position_is_shared_out_once(n, count, monkeypatch, threads_restored):
    monkeypatch.setattr(threads, "SHARED_FROM", 0)
    threads.set_threads(count)
    cost = np.concatenate(([0], np.random.default_rng(0).integers(0, 9, n).cumsum()))
    times, lock = np.zeros(n, int), threading.Lock()

    def work(low, high):
        with lock:
            times[low:high] += 1

    threads.share(work, cost, 1)
    assert (times == 1).all()


def test_small_work_stays_in_its_thread(threads_restored):
    threads.set_threads(2)
    seen = []
    threads.share(lambda low, high: seen.append((threading.current_thread(), low, high)), np.arange(11), 1)
    assert seen == [(threading.current_thread(), 0, 10)]


def test_an_error_in_a_thread_is_raised(monkeypatch, threads_restored):
    monkeypatch.setattr(threads, "SHARED_FROM", 0)
    threads.set_threads(2)

    def work(low, high):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        threads.share(work, np.arange(11), 1)


@pytest.mark.parametrize("count", [1, 2])
def test_work_beside_the_block_is_done_at_its_end(count, threads_restored):
    threads.set_threads(count)
    begun, go_on, done = threading.Event(), threading.Event(), []

    def work():
        begun.set()
        assert count == 1 or go_on.wait(60)
        done.append(threading.current_thread())

    with threads.beside(work):
        assert begun.wait(60)
        assert bool(done) == (count == 1)  # one thread has it done before the block
        go_on.set()
    assert (done == [threading.current_thread()]) == (count == 1)


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_beside_the_block_is_raised(count, threads_restored):
    threads.set_threads(count)

    def work():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), threads.beside(work):
        pass


def test_numpys_products_keep_to_one_thread_inside_of_the_block_only():
    def numpys():
        return [pool["num_threads"] for pool in threadpool_info() if "numpy" in pool["filepath"]]

    before = numpys()
    with threads.one_blas_thread():
        assert numpys() == [1]
    assert numpys() == before


def test_a_view_shares_the_arrays_memory_and_waits_for_it():
    array = mx.nd.ones((300, 300))
    for _ in range(10):
        array = mx.nd.dot(array, mx.nd.ones((300, 300))) / 300
    seen = view(array)
    assert (seen == 1).all()
    array[:] = 2
    mx.nd.waitall()
    assert (seen == 2).all()
    with pytest.raises(ValueError, match="read-only"):
        seen[0] = 3
