"""The category-aligned part's layers, for each seen pair: forward, loss and backward in blocks that stay in a cache.

Tens of thousands of pairs go through layers of a few dozen units: nearly all of MXNet's time for them goes to writing
and reading arrays, broadcasting and summing (docs/training.md), not to products. Here a block of rows goes through
all layers, the loss and all layers back at once: what the layers made is still in the second cache on the way back.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from propensity.compiled import compiled
from propensity.training.activation import activate, bits_to_drop_by, take_back
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
PRODUCTS: Final = 2000
"""Multiplications that a pair takes, forward and back, about."""


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


@dataclass(frozen=True)
class PairLayers:
    """A batch's pairs on their way through the layers.

    Attributes:
        weights: numpy's arrays.
        batch: With at least one pair.
        masks: Dropout's, of each hidden layer.
    """

    weights: PairWeights
    batch: Batch
    masks: list[Masks]

    def there_and_back(self, loss: Callable[[slice, slice, Floats], Floats], products: int) -> PairWeights:
        """Take all pairs through the layers, the loss and back, and return the gradients by the weights.

        The number of threads doesn't change a bit.

        Args:
            loss: Called with a range of rows, the range of their pairs and what the pairs' own history says,
                (n_pairs, K - 1); returns the loss's gradient by the last, of the same shape. Every row comes once, in
                any order and from several threads.
            products: Multiplications that `loss` takes for a row, about.
        """
        weights = self.weights
        of_row = np.zeros_like(weights.of_row)
        # of_row's rows are one group's each; of the others every group has its own sum.
        shared = [array for array in weights.arrays() if array is not weights.of_row]
        sums = [[np.zeros(array.shape, np.float32) for array in shared] for _ in range(GROUPS)]

        def of_group(group: int) -> Callable[[slice, slice], None]:
            own = PairWeights.of([sums[group][0], of_row, *sums[group][1:]])

            def block(rows: slice, pairs: slice) -> None:
                hidden, found = self._ahead(pairs)
                self._back(pairs, hidden, loss(rows, pairs, found), own)

            return block

        self._in_blocks(of_group, products)
        total, *others = sums
        for group in others:
            for array, more in zip(total, group, strict=True):
                np.add(array, more, out=array)
        return PairWeights.of([total[0], of_row, *total[1:]])

    def _ahead(self, pairs: slice) -> tuple[list[Floats], Floats]:
        """Return a block's hidden layers, and what comes out of the last."""
        weights, batch = self.weights, self.batch
        signals, position = self._signals(pairs), batch.pair_position[pairs]
        flow = signals @ weights.of_signals.T
        _to_first(
            flow, weights.of_category, position, weights.of_row, batch.pair_row[pairs],
            weights.of_prior.reshape(-1), batch.pair_prior[pairs, 0], *self.masks[0], pairs.start,
        )  # fmt: skip
        hidden = [flow]
        for (weight, bias), masks in zip(self._later(weights), self.masks[1:], strict=True):
            flow = flow @ weight.T
            activate(flow, bias, masks, pairs.start)
            hidden.append(flow)
        own = flow @ weights.output.T
        _add_linear(own, weights.output_bias, _by_class(weights, own), position, signals)
        return hidden, own

    def _back(self, pairs: slice, hidden: list[Floats], gradient: Floats, own: PairWeights) -> None:
        """Add the gradients by the weights to `own`, given those by what came out of a block's last layer."""
        weights, batch = self.weights, self.batch
        signals, position = self._signals(pairs), batch.pair_position[pairs]
        _sum_linear(_by_class(own, gradient), gradient, position, signals)
        own.output[:] += gradient.T @ hidden[-1]
        own.output_bias[:] += gradient.sum(axis=0)
        flow = np.empty_like(hidden[-1])
        _by_output(gradient, weights.output, flow)
        later = list(zip(self._later(weights), self._later(own), strict=True))
        for number in range(len(later), 0, -1):
            (weight, _), (of_weight, of_bias) = later[number - 1]
            take_back(flow, hidden[number], self.masks[number], of_bias)
            of_weight += flow.T @ hidden[number - 1]
            flow = flow @ weight
        _from_first(flow, hidden[0], self.masks[0].scale, own.of_category, position, own.of_row, batch.pair_row[pairs])
        own.of_signals[:] += flow.T @ signals
        own.of_prior[:] += flow.T @ batch.pair_prior[pairs]

    def _signals(self, pairs: slice) -> Floats:
        assert self.batch.pair_signals is not None  # there are pairs
        return self.batch.pair_signals[pairs]

    @staticmethod
    def _later(weights: PairWeights) -> list[tuple[Floats, Floats]]:
        layers = weights.layers
        return list(zip(layers[::2], layers[1::2], strict=True))

    def _in_blocks(self, of_group: Callable[[int], Callable[[slice, slice], None]], products: int) -> None:
        """Call `of_group(number)(rows, pairs)` for each block of each group; threads share the groups.

        Args:
            of_group: Group's number to a function of a block.
            products: Multiplications that a row takes beside those of its pairs.
        """
        indptr = self.batch.pair_indptr
        cost = indptr * PRODUCTS + np.arange(len(indptr)) * products
        per_group = -(-int(indptr[-1]) // (GROUPS * BLOCK))
        wanted = np.arange(1, GROUPS * per_group) * (int(cost[-1]) / (GROUPS * per_group))
        bounds = [0, *np.searchsorted(cost, wanted).tolist(), len(indptr) - 1]

        def work(low: int, high: int) -> None:
            # A net that explodes shows in its loss, which is looked at.
            with np.errstate(over="ignore", invalid="ignore"):
                for group in range(low, high):
                    block = of_group(group)
                    for start, stop in pairwise(bounds[group * per_group : (group + 1) * per_group + 1]):
                        if stop > start:
                            block(slice(start, stop), slice(int(indptr[start]), int(indptr[stop])))

        share(work, np.arange(GROUPS + 1), int(cost[-1]) // GROUPS)


def _by_class(weights: PairWeights, own: Floats) -> Floats:
    """Return the linear terms as (N, K - 1, S + 1), where `own` is (n, K - 1)."""
    linear: Floats = weights.linear.reshape(len(weights.linear), own.shape[1], -1)
    return linear


@compiled
def _to_first(
    flow: Floats, of_category: Floats, position: Ints, of_row: Floats, row: Ints, of_prior: Floats, prior: Floats,
    seed: np.uint64, dropped: np.uint16, scale: np.float32, first: int,
) -> None:  # fmt: skip
    """Add what the category, the row and its popularity say; then rectifier and dropout, as in `activate`."""
    bits = bits_to_drop_by(flow.shape[0], flow.shape[1], seed, dropped, first)
    for p in range(flow.shape[0]):
        n, r, recent = position[p], row[p], prior[p]
        for j in range(flow.shape[1]):
            value = flow[p, j] + of_category[n, j] + of_row[r, j] + recent * of_prior[j]
            value = max(value, np.float32(0.0)) * scale
            flow[p, j] = value if bits[p, j] >= dropped else np.float32(0.0)


@compiled
def _from_first(
    flow: Floats, hidden: Floats, scale: np.float32, of_category: Floats, position: Ints, of_row: Floats, row: Ints
) -> None:
    """Take the gradient back as `take_back` does, and add it to those of the category and the row."""
    for p in range(flow.shape[0]):
        n, r = position[p], row[p]
        for j in range(flow.shape[1]):
            value = flow[p, j] * scale if hidden[p, j] > np.float32(0.0) else np.float32(0.0)
            flow[p, j] = value
            of_category[n, j] += value
            of_row[r, j] += value


@compiled
def _by_output(gradient: Floats, weight: Floats, flow: Floats) -> None:
    """Write gradient @ weight into `flow`: BLAS is slow where K - 1 is 1."""
    for p in range(flow.shape[0]):
        for j in range(flow.shape[1]):
            flow[p, j] = gradient[p, 0] * weight[0, j]
        for k in range(1, gradient.shape[1]):
            for j in range(flow.shape[1]):
                flow[p, j] += gradient[p, k] * weight[k, j]


@compiled
def _add_linear(own: Floats, bias: Floats, linear: Floats, position: Ints, signals: Floats) -> None:
    for p in range(own.shape[0]):
        n = position[p]
        for k in range(own.shape[1]):
            total = own[p, k] + bias[k] + linear[n, k, signals.shape[1]]
            for s in range(signals.shape[1]):
                total += linear[n, k, s] * signals[p, s]
            own[p, k] = total


@compiled
def _sum_linear(linear: Floats, gradient: Floats, position: Ints, signals: Floats) -> None:
    for p in range(gradient.shape[0]):
        n = position[p]
        for k in range(gradient.shape[1]):
            for s in range(signals.shape[1]):
                linear[n, k, s] += gradient[p, k] * signals[p, s]
            linear[n, k, signals.shape[1]] += gradient[p, k]
