"""What a scoring does to its process's memory holds while it lasts."""

from __future__ import annotations

import gc
import resource

import numpy as np
import pyarrow as pa
import pytest

from propensity.scoring.process_memory import settled_memory


def test_all_is_as_before_afterwards():
    before = pa.default_memory_pool().backend_name
    with settled_memory():
        assert gc.get_freeze_count() > 0
        assert pa.default_memory_pool().backend_name == "system"
    assert gc.get_freeze_count() == 0
    assert pa.default_memory_pool().backend_name == before
    with pytest.raises(RuntimeError, match="scored"), settled_memory():
        raise RuntimeError("scored")
    assert gc.get_freeze_count() == 0
    assert pa.default_memory_pool().backend_name == before


def faults(times: int) -> int:
    """Return how many pages the kernel gave out for arrays of a few megabytes that come and go."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        arrays = [np.full(2**18 + 2**10 * number, 1.0, np.float32) for number in range(6)]
        del arrays
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_freed_memory_stays():
    with settled_memory():
        faults(2)
        assert faults(50) < 50 * 6 * 2**8 / 10  # of 2**8 pages and more each
