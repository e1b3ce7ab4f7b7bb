"""The nets without a framework: numpy and scipy only. `training/networks.py` has the same nets for training.

Rows go through in blocks of ROW_BLOCK and seen pairs in blocks of PAIR_BLOCK, the last one padded, so that
every matrix product has one fixed shape and a row's bits don't depend on the rows beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.sparse import csr_matrix

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.models.encoded_rows import EncodedRows

    Array = npt.NDArray[np.float32]
    Weights = dict[str, Array]
    Margins = Callable[[EncodedRows, Array, npt.NDArray[np.int32]], Array]

ROW_BLOCK: Final = 128
PAIR_BLOCK: Final = 256
PRIOR_SCALE: Final = 0.25
"""Log-odds of popularity lie between -9 and 0; times this they are of the size of the other inputs."""


class FeedForward:
    """Deep part, head and popularity prior."""

    def __init__(self, weights: Weights, n_classes: int) -> None:
        self._input_weight, self._input_bias = weights["deep.input_weight"], weights["deep.input_bias"]
        self._hidden = _layers(weights, "deep.layers")
        self._head_weight = _columns(weights["head.output.weight"])
        self._head_bias = weights["head.output.bias"]
        self._shape = (-1, n_classes - 1, len(self._head_bias) // (n_classes - 1))
        self._prior_scale = weights["head.prior_scale"]

    def hidden(self, block: EncodedRows) -> Array:
        """Last hidden layer of a block padded to ROW_BLOCK rows, (ROW_BLOCK, hidden[-1])."""
        flow: Array = block.deep @ self._input_weight
        flow += self._input_bias
        np.maximum(flow, 0.0, out=flow)
        for weight, bias in self._hidden:
            flow = flow @ weight
            flow += bias
            np.maximum(flow, 0.0, out=flow)
        return flow

    def head(self, hidden: Array, prior: Array) -> Array:
        """Margins (ROW_BLOCK, K - 1, N) of a block, from its log-odds of popularity (ROW_BLOCK, N)."""
        margins = hidden @ self._head_weight
        margins += self._head_bias
        shaped = margins.reshape(self._shape)
        shaped += prior[:, None, :] * self._prior_scale
        return shaped

    def block(self, block: EncodedRows, prior: Array) -> Array:
        """Margins of one padded block."""
        return self.head(self.hidden(block), prior)

    def margins(self, rows: EncodedRows, prior: Array, as_of_position: npt.NDArray[np.int32]) -> Iterator[Array]:
        """Yield the margins (at most ROW_BLOCK, K - 1, N) of block after block.

        Args:
            rows: Encoded rows.
            prior: Log-odds of popularity, (n_as_of, N).
            as_of_position: Row's position in `prior`, (n_rows,).
        """
        for start in range(0, len(rows), ROW_BLOCK):
            stop = min(start + ROW_BLOCK, len(rows))
            position = np.zeros(ROW_BLOCK, np.int64)
            position[: stop - start] = as_of_position[start:stop]
            yield self.block(_padded(rows.slice(start, stop)), prior[position])[: stop - start]


class CategoryAligned(FeedForward):
    """FeedForward plus the category-aligned part on seen pairs and the cross-category part on the others.

    The first shared layer's product with embedding, context, popularity and the customer's own signals is taken
    once per category and row instead of once per pair, and gathered: the same sum in another order.
    """

    def __init__(self, weights: Weights, n_classes: int) -> None:
        super().__init__(weights, n_classes)
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
        self._out_bias = weights["aligned.output.bias"]
        linear = weights["aligned.linear"].reshape(-1, n_classes - 1, n_signals + 1)
        self._linear_weight = np.ascontiguousarray(linear[:, :, :-1])
        self._linear_bias = np.ascontiguousarray(linear[:, :, -1])
        self._cross_weight = weights.get("cross.weight")

    def block(self, block: EncodedRows, prior: Array) -> Array:
        """Margins of one padded block."""
        hidden = self.hidden(block)
        margins = self.head(hidden, prior)
        n_pairs = len(block.pair_position)
        if n_pairs == 0:
            return margins
        row, position = block.pair_row, block.pair_position
        if self._cross_weight is not None:
            crossed = (block.cross @ self._cross_weight).reshape(margins.shape)
            crossed[row, :, position] = 0.0
            margins += crossed
        context = (hidden @ self._context_weight + self._context_bias) @ self._of_context
        context += block.customer @ self._of_customer
        signals = _pair_blocks(block.pair_signals)
        flow = signals @ self._of_signals
        first = flow.reshape(-1, flow.shape[2])[:n_pairs]
        first += self._of_category[position]
        first += context[row]
        first += prior[row, position][:, None] * self._of_prior
        np.maximum(flow, 0.0, out=flow)
        for weight, bias in self._shared:
            flow = flow @ weight
            flow += bias
            np.maximum(flow, 0.0, out=flow)
        last = flow.reshape(-1, flow.shape[2])[:n_pairs]
        # einsum sums each row by itself; a matrix-vector product's bits depend on the row's place.
        own = np.einsum("pi,ki->pk", last, self._out_weight)
        own += np.einsum("pi,pki->pk", block.pair_signals, self._linear_weight[position])
        own += self._out_bias + self._linear_bias[position]
        margins[row, :, position] += own
        return margins


FORWARDS: Final[dict[str, type[FeedForward]]] = {
    "category_aligned": CategoryAligned,
    "feed_forward": FeedForward,
}


def forwards(network: str, nets: Sequence[Weights], n_classes: int) -> tuple[FeedForward, ...]:
    """Return the forward pass of each net."""
    return tuple(FORWARDS[network](weights, n_classes) for weights in nets)


def mean_margins(
    members: Sequence[FeedForward], rows: EncodedRows, prior: Array, as_of_position: npt.NDArray[np.int32]
) -> Iterator[Array]:
    """Yield the mean of the nets' margins, block after block; arguments as for `FeedForward.margins`."""
    if len(members) == 1:
        yield from members[0].margins(rows, prior, as_of_position)
        return
    for blocks in zip(*(member.margins(rows, prior, as_of_position) for member in members), strict=True):
        total = blocks[0]
        for block in blocks[1:]:
            total = total + block
        yield total * np.float32(1.0 / len(members))


def _columns(weight: Array) -> Array:
    """Transpose an (out, in) weight into a contiguous (in, out) one."""
    return np.ascontiguousarray(weight.T)


def _layers(weights: Weights, prefix: str) -> list[tuple[Array, Array]]:
    count = sum(name.startswith(prefix) and name.endswith(".weight") for name in weights)
    return [(_columns(weights[f"{prefix}.{i}.weight"]), weights[f"{prefix}.{i}.bias"]) for i in range(count)]


def _padded(block: EncodedRows) -> EncodedRows:
    """Add empty rows up to ROW_BLOCK."""
    missing = ROW_BLOCK - len(block)
    if missing == 0:
        return block
    return type(block)(
        deep=_padded_csr(block.deep),
        customer=np.pad(block.customer, ((0, missing), (0, 0))),
        cross=_padded_csr(block.cross),
        pair_indptr=np.concatenate((block.pair_indptr, np.full(missing, block.pair_indptr[-1]))),
        pair_position=block.pair_position,
        pair_signals=block.pair_signals,
    )


def _padded_csr(matrix: csr_matrix) -> csr_matrix:
    missing = ROW_BLOCK - matrix.shape[0]
    indptr = np.concatenate((matrix.indptr, np.full(missing, matrix.indptr[-1], matrix.indptr.dtype)))
    return csr_matrix((matrix.data, matrix.indices, indptr), shape=(ROW_BLOCK, matrix.shape[1]))


def _pair_blocks(signals: Array) -> Array:
    """Pad (P, S) with zeros to (blocks, PAIR_BLOCK, S)."""
    blocks = -(-len(signals) // PAIR_BLOCK)
    padded = np.zeros((blocks * PAIR_BLOCK, signals.shape[1]), np.float32)
    padded[: len(signals)] = signals
    return padded.reshape(blocks, PAIR_BLOCK, -1)
