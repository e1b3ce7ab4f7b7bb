"""What this machine can do at most, for bench_training_step.py: python machine_roof.py DIRECTORY

Prints JSON: `flops`, operations a second of sgemm at the shapes of the net's dense layers, forward and backward;
`bytes`, read and written in a second by copying arrays that no cache holds. Each is the best of some tries, on as many
threads as OMP_NUM_THREADS says.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import training_step_data as data

TRIES = 15
COPIED = 2**28
"""Bytes."""


def sgemm_flops(shape: data.Shape) -> float:
    """Return operations a second over the products of both dense layers: forward, weight's and input's gradient."""
    first, second = shape.hidden
    rng = np.random.default_rng(0)
    products = []
    for inputs, outputs in ((first, second), (second, shape.outputs)):
        x, w, y = (
            rng.standard_normal(size, dtype=np.float32)
            for size in ((shape.batch, inputs), (inputs, outputs), (shape.batch, outputs))
        )
        products += [(x, w), (x.T, y), (y, w.T)]
    operations = sum(2 * left.shape[0] * left.shape[1] * right.shape[1] for left, right in products)
    return operations / _best(lambda: [left @ right for left, right in products])


def copied_bytes(threads: int) -> float:
    """Return bytes read plus bytes written a second; each thread copies a part."""
    source = np.ones(COPIED // 4, np.float32)
    target = np.zeros_like(source)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:
        return 2 * COPIED / _best(lambda: list(pool.map(lambda part: np.copyto(*part), parts)))


def _best(work: Callable[[], object]) -> float:
    work()
    seconds = []
    for _ in range(TRIES):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


if __name__ == "__main__":
    sizes = data.read(Path(sys.argv[1])).shape
    print(json.dumps({"flops": sgemm_flops(sizes), "bytes": copied_bytes(data.threads())}))
