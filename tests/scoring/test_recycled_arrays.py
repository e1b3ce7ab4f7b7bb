"""Memory goes to another array when the one that had it is gone, and not before."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from propensity.features.vectors import lists_from_matrix
from propensity.scoring.recycled_arrays import RecycledArrays


def address(array):
    return array.ctypes.data


def test_memory_is_used_again():
    new_array = RecycledArrays()
    first = new_array((300, 2, 100), np.float32)
    assert first.shape == (300, 2, 100)
    assert first.dtype == np.float32
    assert first.flags.c_contiguous
    assert first.flags.writeable
    there = address(first)
    second = new_array((300, 2, 100), np.float32)
    assert address(second) != there
    del first
    assert address(new_array((300, 2, 100), np.float32)) == there


def test_a_view_keeps_it():
    new_array = RecycledArrays()
    array = new_array((8, 10), np.float32)
    array[:] = 7
    there, view = address(array), array[4:, ::2]
    lists = lists_from_matrix(array)
    del array
    other = new_array((8, 10), np.float32)
    other[:] = 9
    assert address(other) != there
    assert (view == 7).all()
    del view
    assert address(new_array((8, 10), np.float32)) != there
    assert lists.flatten().to_pylist() == [7.0] * 80
    del lists
    assert there in {address(new_array((8, 10), np.float32)) for _ in range(3)}


def test_other_sizes_and_types():
    new_array = RecycledArrays()
    large = new_array((1_000,), np.float32)
    there = address(large)
    del large
    small = new_array((3, 5), np.int16)
    assert address(small) == there
    assert small.dtype == np.int16
    del small
    larger = new_array((2_000,), np.float32)
    larger[:] = np.arange(2_000)
    assert larger.sum() == 1_999_000
    assert new_array((0, 4), np.float32).shape == (0, 4)


def test_threads_never_share_one():
    new_array = RecycledArrays()

    def work(number: int) -> bool:
        whole = True
        for _ in range(300):
            array = new_array((64,), np.int64)
            array[:] = number
            whole &= bool((array == number).all())
        return whole

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
