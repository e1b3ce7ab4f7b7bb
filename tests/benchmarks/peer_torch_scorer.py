"""The net of bench_scorer.py in PyTorch, EmbeddingBag and Linear in float32; in an environment of its own.

.venv-peers/bin/python peer_torch_scorer.py DIRECTORY NAME WHAT

WHAT is `margins` or `probabilities`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import scorer_data
import torch
import training_step_data as data
from torch import nn


class Net(nn.Module):
    """Margins, one a category."""

    def __init__(self, shape: data.Shape) -> None:
        super().__init__()
        first, second = shape.hidden
        weights = {name: torch.from_numpy(value) for name, value in scorer_data.weights(shape).items()}
        self.input = nn.EmbeddingBag(shape.features, first, mode="sum", _weight=weights["deep.input_weight"])
        self.bias = nn.Parameter(weights["deep.input_bias"])
        self.hidden, self.output = nn.Linear(first, second), nn.Linear(second, shape.outputs)
        with torch.no_grad():
            self.hidden.weight.copy_(weights["deep.layers.0.weight"])
            self.hidden.bias.copy_(weights["deep.layers.0.bias"])
            self.output.weight.copy_(weights["head.output.weight"])
            self.output.bias.copy_(weights["head.output.bias"])

    def forward(self, columns: torch.Tensor, offsets: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        flow = self.input(columns, offsets, per_sample_weights=values).add_(self.bias).relu_()
        return self.output(self.hidden(flow).relu_())


def main() -> None:
    directory, name = Path(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(data.threads())
    rows = data.read(directory)
    net, probabilities = Net(rows.shape).eval(), sys.argv[3] == "probabilities"

    def inputs(batch: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        n_rows = batch.stop - batch.start
        return (
            torch.from_numpy(rows.columns[batch].ravel().astype("int64")),
            torch.arange(0, n_rows * rows.shape.non_zeros, rows.shape.non_zeros),
            torch.from_numpy(rows.values[batch].flatten()),
        )

    def prepare(size: int) -> Callable[[], None]:
        pool = [inputs(batch) for batch in scorer_data.batches(rows, size)]

        def run() -> None:
            for each in pool:
                found = net(*each)
                if probabilities:
                    found.sigmoid_()

        return run

    with torch.inference_mode():
        scorer_data.report(directory, name, rows, prepare, lambda: net(*inputs(slice(0, scorer_data.COMPARED))).numpy())


if __name__ == "__main__":
    main()
