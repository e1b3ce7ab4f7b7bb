"""What the contenders of bench_scorer.py share: the net's weights, and how a pass over the rows is timed.

numpy alone, so that a peer reads it in an environment of its own. Rows are those of training_step_data.py.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import training_step_data as data

Array = npt.NDArray[np.float32]

BATCHES = (128, 512, 1024, 4096)
"""Rows of a call; every contender keeps the fastest."""
PASSES = 3
"""Over all rows, timed."""
COMPARED = 512
"""Rows whose margins are compared."""


def weights(shape: data.Shape) -> dict[str, Array]:
    """Draw the net's parameters, by their path in the platform's net; dense ones are (out, in)."""
    names = ("deep.input_weight", "deep.layers.0.weight", "head.output.weight")
    drawn = dict(zip(names, data.first_weights(shape), strict=True))
    rng = np.random.default_rng(3)
    biases = {
        "deep.input_bias": shape.hidden[0],
        "deep.layers.0.bias": shape.hidden[1],
        "head.output.bias": shape.outputs,
    }
    return {name: value if name == names[0] else np.ascontiguousarray(value.T) for name, value in drawn.items()} | {
        name: rng.normal(0, 0.1, width).astype(np.float32) for name, width in biases.items()
    }


def report(
    directory: Path,
    name: str,
    rows: data.Rows,
    prepare: Callable[[int], Callable[[], object]],
    compared: Callable[[], Array],
    sizes: tuple[int, ...] = BATCHES,
) -> None:
    """Time passes over all rows, print JSON with the median's `seconds` and `batch`, and write what is compared.

    Args:
        directory: `NAME.npy` is written to it.
        name: The contender's.
        rows: What `prepare` passes over.
        prepare: From rows of a call to a pass over all rows in ready-made batches.
        compared: Margins of the first COMPARED rows, (COMPARED, outputs).
        sizes: Rows of a call to try.
    """
    np.save(directory / f"{name}.npy", compared())
    fastest, batch = float("inf"), 0
    for size in sizes:
        if size > rows.shape.rows:
            continue
        run = prepare(size)
        run()
        seconds = min(_seconds(run) for _ in range(2))
        if seconds < fastest:
            fastest, batch = seconds, size
    run = prepare(batch)
    run()
    print(json.dumps({"seconds": statistics.median(_seconds(run) for _ in range(PASSES)), "batch": batch}))


def batches(rows: data.Rows, size: int) -> list[slice]:
    """Return all rows, `size` at a time; those that don't fill a batch are left out."""
    return [slice(start, start + size) for start in range(0, rows.shape.rows - size + 1, size)]


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
