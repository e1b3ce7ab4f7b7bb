"""The dense products of bench_scorer.py's net and nothing else, in numpy's BLAS: no float32 pass can be faster.

python roof_scorer.py DIRECTORY NAME
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scorer_data
import training_step_data as data


def main() -> None:
    directory, name = Path(sys.argv[1]), sys.argv[2]
    rows = data.read(directory)
    weights = scorer_data.weights(rows.shape)
    hidden, output = (
        np.ascontiguousarray(weights[layer].T) for layer in ("deep.layers.0.weight", "head.output.weight")
    )
    flow = np.random.default_rng(5).random((max(scorer_data.BATCHES), rows.shape.hidden[0]), np.float32)

    def margins(size: int) -> scorer_data.Array:
        return flow[:size] @ hidden @ output

    def prepare(size: int) -> Callable[[], None]:
        inner = np.empty((size, rows.shape.hidden[1]), np.float32)
        out = np.empty((size, rows.shape.outputs), np.float32)

        def run() -> None:
            for _ in scorer_data.batches(rows, size):
                np.matmul(np.matmul(flow[:size], hidden, out=inner), output, out=out)

        return run

    scorer_data.report(directory, name, rows, prepare, lambda: margins(scorer_data.COMPARED))


if __name__ == "__main__":
    main()
