"""Where a training step's time goes, for bench_training_step.py.

python training_step_profile.py DIRECTORY OPTIMIZER STEPS NETWORK CROSS_SIGNALS

`descent.train_net` runs as in ours_training_step.py, but on one thread, its batches gathered in turn: what a part takes
is then its own, since MXNet's engine returns from each operator when it is done (NaiveEngine). Prints JSON, seconds of
the processor a step by part, the most expensive first.
"""

from __future__ import annotations

import functools
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ours_training_step
import training_step_data as data

from propensity.training import batches, descent, mxnet_runtime, network_parts, networks, threads
from propensity.training.pair_layers import PairLayers
from propensity.training.sparse_linear import SparseLinear

seconds: dict[str, float] = defaultdict(float)
"""Of this step, by part."""
running: list[float] = []
"""Of the parts that are being timed, seconds that went to parts inside of them."""


def timed(name: str | Callable[[Any], str], function: Callable[..., Any]) -> Callable[..., Any]:
    """Add a function's time, without that of timed ones inside, to `seconds`; `name` may ask its first argument."""

    @functools.wraps(function)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        running.append(0.0)
        started = time.thread_time()
        try:
            return function(*arguments, **named)
        finally:
            took, inside = time.thread_time() - started, running.pop()
            seconds[name if isinstance(name, str) else name(arguments[0])] += took - inside
            if running:
                running[-1] += took

    return wrapped


def layer_name(layer: SparseLinear) -> str:
    """Return which of the sparse layers it is, by the length of its input."""
    return {n_columns: "input layer", 1: "input bias"}.get(layer.weight.shape[0], "cross part")


def time_parts() -> None:
    """Wrap the parts of a step."""
    parts: list[tuple[Any, str, str | Callable[[Any], str]]] = [
        (SparseLinear, "product", lambda layer: f"{layer_name(layer)}, product (own)"),
        (SparseLinear, "step", lambda layer: f"{layer_name(layer)}, gradient and optimizer (own)"),
        (network_parts.DeepPart, "forward", "hidden layers (MXNet)"),
        (network_parts.Head, "forward", "head's product (MXNet)"),
        (network_parts.AlignedPart, "forward", "category-aligned part by row and category (MXNet)"),
        (PairLayers, "_ahead", "category-aligned part by pair, forward (own)"),
        (PairLayers, "_back", "category-aligned part by pair, backward (own)"),
        (descent, "loss_and_gradients", "loss and its gradient (own)"),
        (networks.FeedForward, "_back", "backward (MXNet)"),
        (mxnet_runtime.mx.gluon.Trainer, "step", "dense optimizers (MXNet)"),
        (descent, "_step", "the rest"),
    ]
    for place, name, part in parts:
        setattr(place, name, timed(part, getattr(place, name)))


if __name__ == "__main__":
    directory, optimizer, n_steps, network, cross_signals = sys.argv[1:]
    threads.set_threads(1)
    mxnet_runtime.set_threads(1)
    rows = data.read(Path(directory))
    n_columns = rows.shape.features
    time_parts()
    steps: list[dict[str, float]] = []

    class InTurn(batches.Batches):
        """Batches gathered when they're asked for; asking for the next ends a step."""

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, prefetch=0)

        def __iter__(self) -> Any:
            gathered = super().__iter__()
            for _ in range(data.WARM_UP + int(n_steps)):
                started = time.thread_time()
                batch = next(gathered)
                seconds["gathering the batch (in a thread beside it)"] = time.thread_time() - started
                yield batch
                steps.append(dict(seconds))
                seconds.clear()

    descent.Batches = InTurn  # type: ignore[misc]
    ours_training_step.train_net(
        **ours_training_step.training(rows, optimizer, network, int(cross_signals)), progress=descent.no_progress
    )
    kept = steps[data.WARM_UP :]
    found = {part: statistics.median(step[part] for step in kept) for part in kept[0]}
    print(json.dumps(dict(sorted(found.items(), key=lambda item: -item[1]))))
