"""The category-aligned part's layers, for each seen pair: forward and backward in blocks that stay in the second cache.

Tens of thousands of pairs go through layers of a few dozen units: nearly all of MXNet's time for them goes to writing
and reading arrays, broadcasting and summing (docs/training.md), not to products. Here a block of pairs goes through
all layers at once, and what its gradients share is summed at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from propensity.training.activation import activate, take_back
from propensity.training.sparse_kernels import compiled
from propensity.training.threads import share

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from propensity.training.batches import Batch
    from propensity.training.dropout import Masks

    Floats = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int32]

BLOCK: Final = 2048
"""Pairs of a block, about: a row's pairs are never parted."""
GROUPS: Final = 4
"""Parts of a batch whose gradients are summed apart and then added in order, whichever threads there are. Each has sums
for all categories, so they are few; more threads than parts don't help."""
PRODUCTS: Final = 1000
"""Multiplications that a pair takes, forward or back, about."""


@dataclass(frozen=True)
class PairWeights:
    """What the layers read, or the loss's gradients by it; all float32.

    Layer 1 of pair p of row r and category n is relu(signals @ W' + of_category[n] + of_row[r] + prior * of_prior).

    Attributes:
        of_category: What the category's embedding adds, with the bias, (N, h1).
        of_row: What the row's context and the customer's own signals add, (B, h1).
        of_signals: W, (h1, S).
        of_prior: (h1, 1).
        layers: Weight (h, h before), bias (h,) of the layers after the first, one after the other.
        output: Weight, (K - 1, h).
        output_bias: (K - 1,).
        linear: A linear term of each category: a weight of each signal and a bias, (N, (K - 1) (S + 1)).
    """

    of_category: Any
    of_row: Any
    of_signals: Any
    of_prior: Any
    layers: tuple[Any, ...]
    output: Any
    output_bias: Any
    linear: Any

    def arrays(self) -> list[Any]:
        """Return all, one after the other."""
        own = (self.of_category, self.of_row, self.of_signals, self.of_prior)
        return [*own, *self.layers, self.output, self.output_bias, self.linear]

    @classmethod
    def of(cls, arrays: list[Any]) -> PairWeights:
        """Take what `arrays` returns."""
        of_category, of_row, of_signals, of_prior, *layers, output, output_bias, linear = arrays
        return cls(of_category, of_row, of_signals, of_prior, tuple(layers), output, output_bias, linear)


@dataclass
class PairLayers:
    """A forward pass over a batch's pairs, kept for the pass back.

    Attributes:
        weights: numpy's arrays.
        batch: With at least one pair.
        masks: Dropout's, of each hidden layer; None leaves it out.
        hidden: Outputs of the hidden layers, each (P, h).
    """

    weights: PairWeights
    batch: Batch
    masks: list[Masks] | None
    hidden: list[Floats] = field(default_factory=list)

    def forward(self) -> Floats:
        """Return what the pairs' own history says, (P, K - 1)."""
        weights, batch = self.weights, self.batch
        signals = batch.pair_signals
        assert signals is not None  # there are pairs
        n_pairs, n_out = len(batch.pair_position), len(weights.output_bias)
        widths = [weights.of_category.shape[1], *map(len, weights.layers[1::2])]
        self.hidden = [np.empty((n_pairs, width), np.float32) for width in widths]
        linear = weights.linear.reshape(len(weights.linear), n_out, -1)
        own = np.empty((n_pairs, n_out), np.float32)

        def block(pairs: slice) -> None:
            first = self.hidden[0][pairs]
            np.matmul(signals[pairs], weights.of_signals.T, out=first)
            _add_first(
                first, weights.of_category, batch.pair_position[pairs], weights.of_row, batch.pair_row[pairs],
                weights.of_prior.reshape(-1), batch.pair_prior[pairs, 0],
            )  # fmt: skip
            self._activate(0, pairs)
            for number, (weight, bias) in enumerate(self._layers(), start=1):
                flow = self.hidden[number][pairs]
                np.matmul(self.hidden[number - 1][pairs], weight.T, out=flow)
                flow += bias
                self._activate(number, pairs)
            np.matmul(self.hidden[-1][pairs], weights.output.T, out=own[pairs])
            own[pairs] += weights.output_bias
            _add_linear(own[pairs], linear, batch.pair_position[pairs], signals[pairs])

        self._in_blocks(lambda _group: block)
        return own

    def backward(self, gradient: Floats) -> PairWeights:
        """Return the gradients by the weights.

        Args:
            gradient: Of the loss by what `forward` returned, (P, K - 1).
        """
        weights, batch = self.weights, self.batch
        signals = batch.pair_signals
        assert signals is not None  # there are pairs
        of_row = np.zeros_like(weights.of_row)
        # of_row's rows are one group's each; of the others every group has its own sum.
        shared = [array for array in weights.arrays() if array is not weights.of_row]
        sums = [[np.zeros(array.shape, np.float32) for array in shared] for _ in range(GROUPS)]

        def of_group(group: int) -> Callable[[slice], None]:
            own = PairWeights.of([sums[group][0], of_row, *sums[group][1:]])
            linear = own.linear.reshape(len(own.linear), gradient.shape[1], -1)

            def block(pairs: slice) -> None:
                last, position = gradient[pairs], batch.pair_position[pairs]
                _sum_linear(linear, last, position, signals[pairs])
                own.output[:] += last.T @ self.hidden[-1][pairs]
                own.output_bias[:] += last.sum(axis=0)
                flow = np.empty((len(last), weights.output.shape[1]), np.float32)
                _by_last(last, weights.output, flow)
                self._take_back(len(self.hidden) - 1, pairs, flow)
                for number, (weight, _) in reversed(list(enumerate(self._layers(), start=1))):
                    of_weight, of_bias = own.layers[2 * number - 2 : 2 * number]
                    of_weight += flow.T @ self.hidden[number - 1][pairs]
                    of_bias += np.ones(len(flow), np.float32) @ flow
                    flow = flow @ weight
                    self._take_back(number - 1, pairs, flow)
                own.of_signals[:] += flow.T @ signals[pairs]
                own.of_prior[:] += flow.T @ batch.pair_prior[pairs]
                _sum_first(flow, own.of_category, position, of_row, batch.pair_row[pairs])

            return block

        self._in_blocks(of_group)
        total, *others = sums
        for group in others:
            for array, more in zip(total, group, strict=True):
                np.add(array, more, out=array)
        return PairWeights.of([total[0], of_row, *total[1:]])

    def _layers(self) -> list[tuple[Floats, Floats]]:
        layers = self.weights.layers
        return list(zip(layers[::2], layers[1::2], strict=True))

    def _activate(self, number: int, pairs: slice) -> None:
        activate(self.hidden[number][pairs], None if self.masks is None else self.masks[number], pairs.start)

    def _take_back(self, number: int, pairs: slice, flow: Floats) -> None:
        take_back(flow, self.hidden[number][pairs], None if self.masks is None else self.masks[number])

    def _in_blocks(self, of_group: Callable[[int], Callable[[slice], None]]) -> None:
        """Call `of_group(number)(pairs)` for each block of each group; threads share the groups."""
        indptr = self.batch.pair_indptr
        n_pairs = int(indptr[-1])
        per_group = -(-n_pairs // (GROUPS * BLOCK))
        wanted = np.arange(1, GROUPS * per_group) * (n_pairs / (GROUPS * per_group))
        bounds = [0, *indptr[np.searchsorted(indptr, wanted)].tolist(), n_pairs]

        def work(low: int, high: int) -> None:
            # A net that explodes shows in its loss, which is looked at.
            with np.errstate(over="ignore", invalid="ignore"):
                for group in range(low, high):
                    block = of_group(group)
                    for start, stop in pairwise(bounds[group * per_group : (group + 1) * per_group + 1]):
                        if stop > start:
                            block(slice(start, stop))

        share(work, np.arange(GROUPS + 1), n_pairs * PRODUCTS // GROUPS)


@compiled
def _add_first(
    flow: Floats, of_category: Floats, position: Ints, of_row: Floats, row: Ints, of_prior: Floats, prior: Floats
) -> None:
    for p in range(flow.shape[0]):
        total, category, context, own = flow[p], of_category[position[p]], of_row[row[p]], prior[p]
        for j in range(total.shape[0]):
            total[j] += category[j] + context[j] + own * of_prior[j]


@compiled
def _sum_first(flow: Floats, of_category: Floats, position: Ints, of_row: Floats, row: Ints) -> None:
    for p in range(flow.shape[0]):
        own, category, context = flow[p], of_category[position[p]], of_row[row[p]]
        for j in range(own.shape[0]):
            category[j] += own[j]
            context[j] += own[j]


@compiled
def _by_last(gradient: Floats, weight: Floats, flow: Floats) -> None:
    """Write gradient @ weight into `flow`: BLAS is slow where K - 1 is 1."""
    for p in range(flow.shape[0]):
        own = flow[p]
        own[:] = np.float32(0.0)
        for k in range(gradient.shape[1]):
            for j in range(own.shape[0]):
                own[j] += gradient[p, k] * weight[k, j]


@compiled
def _add_linear(own: Floats, linear: Floats, position: Ints, signals: Floats) -> None:
    for p in range(own.shape[0]):
        for k in range(own.shape[1]):
            weight = linear[position[p], k]
            total = weight[signals.shape[1]]
            for s in range(signals.shape[1]):
                total += weight[s] * signals[p, s]
            own[p, k] += total


@compiled
def _sum_linear(linear: Floats, gradient: Floats, position: Ints, signals: Floats) -> None:
    for p in range(gradient.shape[0]):
        for k in range(gradient.shape[1]):
            weight, own = linear[position[p], k], gradient[p, k]
            for s in range(signals.shape[1]):
                weight[s] += own * signals[p, s]
            weight[signals.shape[1]] += own
