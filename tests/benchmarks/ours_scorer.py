"""The platform's forward pass for bench_scorer.py:

python ours_scorer.py DIRECTORY NAME NETWORK CROSS_SIGNALS WHAT [SPARSE_FORMAT]

NETWORK is feed_forward or category_aligned; WHAT is `margins`, or `probabilities` for calibrated ones; SPARSE_FORMAT is
float32 or bfloat16.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import ours_training_step
import scorer_data
import training_step_data as data

from propensity.models.calibration import Calibration
from propensity.models.forward_pass import ForwardPass
from propensity.settings import TrainingSettings


def aligned_weights(shape: data.Shape, cross_signals: int) -> dict[str, scorer_data.Array]:
    """Draw the parameters of the category-aligned and cross parts, of the platform's default widths."""
    settings, rng = TrainingSettings(), np.random.default_rng(4)
    first, second = settings.aligned_hidden
    customer = ours_training_step.CUSTOMER_SIGNALS
    shapes: dict[str, tuple[int, ...]] = {
        "aligned.embedding": (shape.outputs, settings.embedding),
        "aligned.context.weight": (settings.context, shape.hidden[1]),
        "aligned.context.bias": (settings.context,),
        "aligned.layers.0.weight": (first, shape.signals + settings.embedding + settings.context + 1 + customer),
        "aligned.layers.0.bias": (first,),
        "aligned.layers.1.weight": (second, first),
        "aligned.layers.1.bias": (second,),
        "aligned.output.weight": (1, second),
        "aligned.output.bias": (1,),
        "aligned.linear": (shape.outputs, shape.signals + 1),
    }
    if cross_signals:
        shapes["cross.weight"] = (shape.outputs * cross_signals, shape.outputs)
    return {name: rng.normal(0, 0.1, size).astype(np.float32) for name, size in shapes.items()}


def main() -> None:
    directory, name, network, cross_signals = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    probabilities = sys.argv[5] == "probabilities"
    rows = data.read(directory)
    shape, threads = rows.shape, data.threads()
    weights = scorer_data.weights(shape) | {"head.prior_scale": np.ones((1, 1, 1), np.float32)}
    if network == "category_aligned":
        weights |= aligned_weights(shape, cross_signals)
    forward = ForwardPass(network, [weights], 2, sys.argv[6] if len(sys.argv) > 6 else "float32")
    examples = ours_training_step.examples_of(rows, network, cross_signals)
    calibration = Calibration.identity(2, shape.outputs)

    def prepare(size: int) -> Callable[[], None]:
        parts = [examples.rows.slice(batch.start, batch.stop) for batch in scorer_data.batches(rows, size)]
        out = np.empty((size, 1, shape.outputs), np.float32)
        as_of = np.zeros(size, np.int32)

        def run() -> None:
            for part in parts:
                if probabilities:
                    forward.write_probabilities(part, examples.prior, as_of, calibration, out, threads)
                else:
                    forward.write_margins(part, examples.prior, as_of, out, threads)

        return run

    def compared() -> scorer_data.Array:
        part = examples.rows.slice(0, scorer_data.COMPARED)
        first = next(forward.margins(part, examples.prior, examples.as_of_position, threads))
        return first[:, 0]

    scorer_data.report(directory, name, rows, prepare, compared)


if __name__ == "__main__":
    main()
