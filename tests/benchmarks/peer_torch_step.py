"""The net of bench_training_step.py in PyTorch: EmbeddingBag(sparse=True), Linear layers, sparse and dense optimizers.

Runs in an environment of its own, `.venv-peers`: python peer_torch_step.py DIRECTORY OPTIMIZER STEPS
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import training_step_data as data
from torch import nn

warnings.filterwarnings("ignore", message="Sparse invariant checks", category=UserWarning)

Pair = tuple[torch.optim.Optimizer, torch.optim.Optimizer]
OPTIMIZERS: dict[str, Callable[[list[nn.Parameter], list[nn.Parameter], float], Pair]] = {
    "adam": lambda sparse, dense, rate: (
        torch.optim.SparseAdam(sparse, lr=rate),
        torch.optim.Adam(dense, lr=rate, fused=True),
    ),
    "adagrad": lambda sparse, dense, rate: (
        torch.optim.Adagrad(sparse, lr=rate),
        torch.optim.Adagrad(dense, lr=rate, fused=True),
    ),
    "sgd": lambda sparse, dense, rate: (
        torch.optim.SGD(sparse, lr=rate),
        torch.optim.SGD(dense, lr=rate, fused=True),
    ),
}


class Net(nn.Module):
    """The published net, one logit a category."""

    def __init__(self, shape: data.Shape) -> None:
        super().__init__()
        first, second = shape.hidden
        self.input = nn.EmbeddingBag(shape.features, first, mode="sum", sparse=True)
        self.bias = nn.Parameter(torch.zeros(first))
        self.hidden, self.output = nn.Linear(first, second), nn.Linear(second, shape.outputs)
        with torch.no_grad():
            weights = data.first_weights(shape)
            self.input.weight.copy_(torch.from_numpy(weights[0]))
            for layer, weight in zip((self.hidden, self.output), weights[1:], strict=True):
                layer.weight.copy_(torch.from_numpy(weight.T.copy()))
                layer.bias.zero_()

    def forward(self, columns: torch.Tensor, offsets: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        bags = self.input(columns, offsets, per_sample_weights=values)
        return self.output(torch.relu(self.hidden(torch.relu(bags + self.bias))))


def main() -> None:
    directory, optimizer, steps = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    torch.set_num_threads(data.threads())
    rows = data.read(directory)
    shape = rows.shape
    net = Net(shape)
    dense = [parameter for name, parameter in net.named_parameters() if name != "input.weight"]
    optimizers = OPTIMIZERS[optimizer]([net.input.weight], dense, data.LEARNING_RATES[optimizer])
    loss_of = nn.BCEWithLogitsLoss(reduction="sum")
    offsets = torch.arange(0, shape.batch * shape.non_zeros, shape.non_zeros)
    pool = [
        (
            torch.from_numpy(rows.columns[batch].ravel().astype("int64")),
            torch.from_numpy(rows.values[batch].flatten()),
            torch.from_numpy(rows.dense_labels(batch)),
        )
        for batch in rows.batches(min(data.POOL, shape.steps))
    ]

    last = torch.zeros(())

    def step(number: int) -> None:
        nonlocal last
        columns, values, labels = pool[number % len(pool)]
        for each in optimizers:
            each.zero_grad(set_to_none=True)
        loss = loss_of(net(columns, offsets, values), labels) / shape.batch
        loss.backward()
        for each in optimizers:
            each.step()
        last = loss.detach()

    data.report(step, lambda: float(last) / shape.outputs, lambda: None, steps)


if __name__ == "__main__":
    main()
