"""The nets without a framework: compiled loops around BLAS's products. `training/networks.py` has them for training.

Rows go through in blocks of ROW_BLOCK and seen pairs in blocks of PAIR_BLOCK, the last one filled up, so that
every matrix product has one fixed shape: the same rows in the same places have the same bits. Most of BLAS's kernels
treat all places of a block alike, and then a row's bits don't depend on the rows beside it either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from propensity.models import forward_kernels as kernels
from propensity.models.bfloat16 import WeightFormat, rounded
from propensity.models.sparse_product import add_product

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.models.encoded_rows import EncodedRows

    Array = npt.NDArray[np.float32]
    Weights = dict[str, Array]

ROW_BLOCK: Final = 128
"""Rows of a block: fewer take more calls, more leave the second cache. Measured."""
PAIR_BLOCK: Final = 1024
"""Pairs of a block, likewise."""
PRIOR_SCALE: Final = 0.25
"""Log-odds of popularity lie between -9 and 0; times this they are of the size of the other inputs."""


@dataclass(frozen=True)
class Block:
    """A range of rows on its way through a net.

    Attributes:
        rows: Encoded rows.
        prior: Log-odds of popularity, float32, (n_as_of, N).
        as_of: Rows' positions in `prior`, int32, (n_rows,).
        start: First row.
        stop: Row after the last, ROW_BLOCK later at most.
    """

    rows: EncodedRows
    prior: Array
    as_of: npt.NDArray[np.int32]
    start: int
    stop: int

    @property
    def pairs(self) -> range:
        """Positions of its rows' seen pairs."""
        return range(int(self.rows.pair_indptr[self.start]), int(self.rows.pair_indptr[self.stop]))


class Workspace:
    """One thread's arrays, used again for every block.

    Attributes:
        layers: Hidden layers of the deep part, each (ROW_BLOCK, width).
        margins: (ROW_BLOCK, K - 1, N), for a net whose margins are added to another's.
        customer: Customers' own signals, (ROW_BLOCK, n_customer_signals).
        context: (ROW_BLOCK, n_context).
        of_row: What a row adds to its pairs' first layer, (ROW_BLOCK, h1).
        of_customer: The part of it that comes from the customer's own signals.
        signals: For a block of pairs that isn't full, (PAIR_BLOCK, n_signals).
        pair_layers: Hidden layers of the category-aligned part, each (PAIR_BLOCK, width).
    """

    def __init__(
        self, hidden: Sequence[int], margins: tuple[int, int], customer: int, context: int, signals: int,
        pair_hidden: Sequence[int],
    ) -> None:  # fmt: skip
        """Make arrays of zeros of these widths."""

        def zeros(*shape: int) -> Array:
            return np.zeros(shape, np.float32)

        self.layers = [zeros(ROW_BLOCK, width) for width in hidden]
        self.margins = zeros(ROW_BLOCK, *margins)
        self.customer, self.context = zeros(ROW_BLOCK, customer), zeros(ROW_BLOCK, context)
        self.of_row, self.of_customer = (zeros(ROW_BLOCK, pair_hidden[0] if pair_hidden else 0) for _ in range(2))
        self.signals = zeros(PAIR_BLOCK, signals)
        self.pair_layers = [zeros(PAIR_BLOCK, width) for width in pair_hidden]


class FeedForward:
    """Deep part, head and popularity prior."""

    def __init__(self, weights: Weights, n_classes: int, sparse_format: WeightFormat = "float32") -> None:
        """Take a net's parameters by their path in it, float32, and hold those of sparse layers in `sparse_format`."""
        self._input_weight = _held(weights["deep.input_weight"], sparse_format)
        self._input_bias = weights["deep.input_bias"].reshape(-1)
        self._hidden = _layers(weights, "deep.layers")
        self._head_weight = _columns(weights["head.output.weight"])
        self._head_bias = weights["head.output.bias"].reshape(n_classes - 1, -1)
        self._prior_scale = weights["head.prior_scale"].reshape(-1)

    @property
    def shape(self) -> tuple[int, int]:
        """(K - 1, N)."""
        n_margins, n_categories = self._head_bias.shape
        return n_margins, n_categories

    def workspace(self) -> Workspace:
        """Make a thread's arrays for blocks of nets of this shape."""
        return Workspace(self._widths(), self.shape, 0, 0, 0, ())

    def base(self, prior: Array) -> Array:
        """Return what a row's margins begin with, (n_as_of, K - 1, N), from log-odds of popularity, (n_as_of, N)."""
        found: Array = prior[:, None, :] * self._prior_scale[:, None] + self._head_bias
        return found

    def write_margins(self, block: Block, space: Workspace, out: Array) -> None:
        """Write a block's margins less their base to `out`, (ROW_BLOCK, K - 1, N).

        Those beyond the block's rows mean nothing.
        """
        self._write_head(self._deep(block, space), out)

    def _deep(self, block: Block, space: Workspace) -> Array:
        """Return the last hidden layer, (ROW_BLOCK, hidden[-1])."""
        deep, flow = block.rows.deep, space.layers[0]
        flow[:] = 0.0
        add_product(
            deep.indptr, deep.indices, deep.data, self._input_weight, flow, block.start, block.stop, block.start
        )
        kernels.rectify(flow, self._input_bias)
        for (weight, bias), out in zip(self._hidden, space.layers[1:], strict=True):
            np.matmul(flow, weight, out=out)
            kernels.rectify(out, bias)
            flow = out
        return flow

    def _write_head(self, hidden: Array, out: Array) -> None:
        np.matmul(hidden, self._head_weight, out=out.reshape(ROW_BLOCK, -1))

    def _widths(self) -> list[int]:
        return [len(self._input_bias), *(len(bias) for _, bias in self._hidden)]


class CategoryAligned(FeedForward):
    """FeedForward plus the category-aligned part on seen pairs and the cross-category part on the others.

    The first shared layer's product with embedding, context, popularity and the customer's own signals is taken
    once per category and row instead of once per pair, and gathered: the same sum in another order.
    """

    def __init__(self, weights: Weights, n_classes: int, sparse_format: WeightFormat = "float32") -> None:
        """Take a net's parameters by their path in it, float32, and hold those of sparse layers in `sparse_format`."""
        super().__init__(weights, n_classes, sparse_format)
        n_signals = weights["aligned.linear"].shape[1] // (n_classes - 1) - 1
        first, n_embedding = weights["aligned.layers.0.weight"], weights["aligned.embedding"].shape[1]
        splits = np.cumsum([n_signals, n_embedding, weights["aligned.context.weight"].shape[0], 1])
        of_signals, of_embedding, of_context, of_prior, of_customer = np.split(first, splits, axis=1)
        self._of_signals = _columns(of_signals)
        self._of_category = weights["aligned.embedding"] @ of_embedding.T + weights["aligned.layers.0.bias"]
        self._of_prior = of_prior[:, 0] * np.float32(PRIOR_SCALE)
        self._of_context, self._of_customer = _columns(of_context), _columns(of_customer)
        self._context_weight = _columns(weights["aligned.context.weight"])
        self._context_bias = weights["aligned.context.bias"]
        self._shared = _layers(weights, "aligned.layers")[1:]
        self._out_weight = weights["aligned.output.weight"]
        self._linear = weights["aligned.linear"].reshape(-1, n_classes - 1, n_signals + 1).copy()
        self._linear[:, :, -1] += weights["aligned.output.bias"]
        self._cross_weight = _held(weights["cross.weight"], sparse_format) if "cross.weight" in weights else None

    def workspace(self) -> Workspace:
        """Make a thread's arrays for blocks of nets of this shape."""
        pair_hidden = [len(self._of_prior), *(len(bias) for _, bias in self._shared)]
        widths = len(self._of_customer), len(self._of_context), len(self._of_signals)
        return Workspace(self._widths(), self.shape, *widths, pair_hidden)

    def write_margins(self, block: Block, space: Workspace, out: Array) -> None:
        """Write a block's margins less their base to `out`, (ROW_BLOCK, K - 1, N).

        Those beyond the block's rows mean nothing.
        """
        hidden = self._deep(block, space)
        if not block.pairs:
            self._write_head(hidden, out)
            return
        own = self._own(block, hidden, space)
        self._write_head(hidden, out)
        rows, start, stop = block.rows, block.start, block.stop
        kernels.keep_pairs(out, rows.pair_indptr, rows.pair_position, own, start, stop)
        if self._cross_weight is not None:
            cross, flat = rows.cross, out.reshape(ROW_BLOCK, -1)
            add_product(cross.indptr, cross.indices, cross.data, self._cross_weight, flat, start, stop, start)
        kernels.put_pairs(out, rows.pair_indptr, rows.pair_position, own, start, stop)

    def _own(self, block: Block, hidden: Array, space: Workspace) -> Array:
        """Return what the seen pairs' own history adds to their margins, (n_pairs, K - 1)."""
        rows, pairs = block.rows, block.pairs
        of_row = self._of_rows(block, hidden, space)
        own = np.empty((len(pairs), len(self._out_weight)), np.float32)
        for low in range(pairs.start, pairs.stop, PAIR_BLOCK):
            high = min(low + PAIR_BLOCK, pairs.stop)
            signals = rows.pair_signals[low:high]
            if len(signals) < PAIR_BLOCK:
                space.signals[: len(signals)] = signals
                signals = space.signals
            flow = np.matmul(signals, self._of_signals, out=space.pair_layers[0])
            kernels.rectify_pairs(
                flow, self._of_category, rows.pair_position, of_row, rows.pair_row, block.start,
                self._of_prior, block.prior, block.as_of, low, high,
            )  # fmt: skip
            for (weight, bias), out in zip(self._shared, space.pair_layers[1:], strict=True):
                flow = np.matmul(flow, weight, out=out)
                kernels.rectify(flow, bias)
            kernels.add_own(
                flow, self._out_weight, self._linear, rows.pair_position, rows.pair_signals, own, low, high, pairs.start
            )
        return own

    def _of_rows(self, block: Block, hidden: Array, space: Workspace) -> Array:
        """Return what context and the customer's own signals add to the pairs' first layer, (ROW_BLOCK, h1)."""
        np.matmul(hidden, self._context_weight, out=space.context)
        space.context += self._context_bias
        of_row, of_customer = space.of_row, space.of_customer
        np.matmul(space.context, self._of_context, out=of_row)
        space.customer[: block.stop - block.start] = block.rows.customer[block.start : block.stop]
        np.matmul(space.customer, self._of_customer, out=of_customer)
        np.add(of_row, of_customer, out=of_row)
        return of_row


FORWARDS: Final[dict[str, type[FeedForward]]] = {
    "category_aligned": CategoryAligned,
    "feed_forward": FeedForward,
}


def _held(weight: Array, sparse_format: WeightFormat) -> Array | npt.NDArray[np.uint16]:
    return weight if sparse_format == "float32" else rounded(weight)


def _columns(weight: Array) -> Array:
    """Transpose an (out, in) weight into a contiguous (in, out) one."""
    return np.ascontiguousarray(weight.T)


def _layers(weights: Weights, prefix: str) -> list[tuple[Array, Array]]:
    count = sum(name.startswith(prefix) and name.endswith(".weight") for name in weights)
    return [(_columns(weights[f"{prefix}.{i}.weight"]), weights[f"{prefix}.{i}.bias"]) for i in range(count)]
