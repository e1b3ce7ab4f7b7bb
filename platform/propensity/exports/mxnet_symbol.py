"""A model as an MXNet symbol: nets and calibration, from encoded rows to propensities.

Standardising is in the graph; what goes where in a row is the caller's to sort (docs/exports.md), since MXNet's
symbols have no operators for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from propensity.exports.folded import Folded, crosses, fold, reads_pairs
from propensity.exports.signature import POPULARITY, Tensor, popularity_tensor
from propensity.models.calibration import MARGIN_LIMIT
from propensity.models.encoding import POPULARITY_FLOOR
from propensity.training.mxnet_runtime import mx

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from propensity.models.model import Model

    Array = npt.NDArray[np.float32]

DEEP: Final = "deep"
CROSS: Final = "cross"
CUSTOMER: Final = "customer"
PAIR_ROW: Final = "pair_row"
PAIR_POSITION: Final = "pair_position"
PAIR_SIGNALS: Final = "pair_signals"


class Symbols:
    """Symbols of the weights, and the weights themselves by the symbols' names."""

    def __init__(self) -> None:
        self.weights: dict[str, Array] = {}

    def weight(self, name: str, array: Array) -> Any:
        """Add an array."""
        self.weights[name] = np.ascontiguousarray(array)
        return mx.sym.var(name, shape=array.shape)

    def dense(self, flow: Any, name: str, weight: Array, bias: Array | None = None) -> Any:
        """Add `flow @ weight.T + bias` of a weight (out, in)."""
        terms = {} if bias is None else {"bias": self.weight(f"{name}_bias", bias)}
        return mx.sym.FullyConnected(
            flow, self.weight(f"{name}_weight", weight), **terms, num_hidden=len(weight), no_bias=bias is None
        )

    def layers(self, flow: Any, name: str, layers: Sequence[tuple[Array, Array]]) -> Any:
        """Add hidden layers."""
        for number, (weight, bias) in enumerate(layers):
            flow = mx.sym.relu(self.dense(flow, f"{name}_{number}", weight, bias))
        return flow


def inputs(model: Model) -> tuple[Tensor, ...]:
    """Return what the graph reads, in order. Every value v is given as sign(v) * log1p(|v|)."""
    encoder = model.encoder
    n_cross, n_signals = len(encoder.cross_signals), len(encoder.aligned_signals)
    read = [
        Tensor(
            name=DEEP,
            dtype="float32",
            storage="csr",
            shape=("rows", max(encoder.n_columns, 1)),
            meaning="encoder.parquet's `column`; not divided by `scale`",
        )
    ]
    if crosses(model):
        read.append(
            Tensor(
                name=CROSS,
                dtype="float32",
                storage="csr",
                shape=("rows", len(encoder.categories) * n_cross),
                meaning=f"column category_position * {n_cross} + place of the signal in `cross_signals`",
            )
        )
    pairs = (
        (PAIR_ROW, "int32", ("pairs",), "row of each pair of a row and a category with any category-aligned value"),
        (PAIR_POSITION, "int32", ("pairs",), "the pair's category_position; a pair comes once"),
    )
    aligned = (
        (PAIR_SIGNALS, "float32", ("pairs", n_signals), "by aligned_signal, 0 for none; not standardised"),
        (CUSTOMER, "float32", ("rows", len(encoder.customer_signals)), "by customer_signal, 0; not standardised"),
    )
    for name, dtype, shape, meaning in (*pairs, *(aligned if reads_pairs(model) else ())):
        if 0 not in shape:
            read.append(Tensor(name=name, dtype=dtype, shape=shape, meaning=meaning))
    return (*read, popularity_tensor(len(encoder.categories)))


def symbol_of(model: Model) -> tuple[Any, dict[str, Array]]:
    """Return the graph and its weights by name.

    Raises:
        ExportError: The network is none that can be exported.
    """
    sym, symbols, folded, encoder = mx.sym, Symbols(), fold(model), model.encoder
    n_categories = len(encoder.categories)
    given = {
        tensor.name: sym.var(tensor.name, dtype=tensor.dtype, stype="csr" if tensor.storage == "csr" else None)
        for tensor in inputs(model)
    }
    share = sym.clip(given[POPULARITY], POPULARITY_FLOOR, 1.0 - POPULARITY_FLOOR)
    prior = sym.reshape(sym.log(share / (1.0 - share)), (-1, 1))
    scaled = symbols.weight("deep_weight", folded.deep_weight / folded.deep_scale[:, None])
    first = sym.broadcast_add(sym.sparse.dot(given[DEEP], scaled), symbols.weight("deep_bias", folded.deep_bias[None]))
    flow, hidden, low = sym.relu(first), [], 0
    for number, (net, units) in enumerate(zip(folded.nets, folded.units, strict=True)):
        own = sym.slice_axis(flow, axis=1, begin=low, end=low + units)
        hidden.append(symbols.layers(own, f"net{number}_deep", net.hidden))
        low += units
    cell = given[PAIR_ROW] * n_categories + given[PAIR_POSITION]
    margins = _head(symbols, hidden, prior, folded)
    seen = sym.take(sym.reshape(margins, (-1, folded.n_upper)), cell)
    if folded.cross_weight is not None:
        margins = margins + sym.sparse.dot(given[CROSS], symbols.weight("cross_weight", folded.cross_weight))
    if folded.aligned_output is not None:
        seen = seen + _own(symbols, given, hidden, prior, model, folded)
    calibrated = _calibrated(symbols, margins, seen, cell, given[PAIR_POSITION], folded)
    return mx.sym.Group(_outputs(calibrated, n_categories, folded.n_upper)), symbols.weights


def _head(symbols: Symbols, hidden: Sequence[Any], prior: Any, folded: Folded) -> Any:
    """Add the margins without what the parts that read pairs add, (rows, n_categories * (K - 1))."""
    sym = mx.sym
    popular = sym.broadcast_mul(prior, symbols.weight("head_prior_scale", folded.head_prior_scale))
    bias = sym.reshape(popular, (1, -1)) + symbols.weight("head_bias", folded.head_bias[None])
    return sym.broadcast_add(symbols.dense(_side_by_side(hidden), "head", folded.head_weight), bias)


def _own(
    symbols: Symbols, given: dict[str, Any], hidden: Sequence[Any], prior: Any, model: Model, folded: Folded
) -> Any:
    """Add what the pairs' own history says, (pairs, K - 1)."""
    sym, encoder = mx.sym, model.encoder
    row, position = given[PAIR_ROW], given[PAIR_POSITION]
    signals = _standardised(symbols, given[PAIR_SIGNALS], "signal", encoder.signal_mean, encoder.signal_std)
    customer = None
    if CUSTOMER in given:
        customer = _standardised(symbols, given[CUSTOMER], CUSTOMER, encoder.customer_mean, encoder.customer_std)
    last = []
    for number, (flow, net) in enumerate(zip(hidden, folded.nets, strict=True)):
        name = f"net{number}_aligned"
        of_row = symbols.dense(
            symbols.dense(flow, f"{name}_context", *net.context), f"{name}_of_context", net.of_context
        )
        if customer is not None:
            of_row = of_row + symbols.dense(customer, f"{name}_of_customer", net.of_customer)
        popular = symbols.dense(prior, f"{name}_of_prior", net.of_prior)
        of_category = popular + symbols.weight(f"{name}_of_category", net.of_category)
        own = symbols.dense(signals, f"{name}_of_signals", net.of_signals)
        own = sym.relu(own + sym.take(of_category, position) + sym.take(of_row, row))
        last.append(symbols.layers(own, name, net.aligned))
    assert folded.aligned_output is not None  # the caller asked
    shared = symbols.dense(_side_by_side(last), "aligned_output", folded.aligned_output)
    linear = sym.take(symbols.weight("aligned_linear", folded.aligned_linear), position)
    alone = sym.sum(sym.broadcast_mul(linear, sym.expand_dims(signals, 1)), axis=2)
    return shared + alone + sym.take(symbols.weight("aligned_bias", folded.aligned_bias), position)


def _standardised(symbols: Symbols, signals: Any, name: str, mean: Array, std: Array) -> Any:
    centred = mx.sym.broadcast_sub(signals, symbols.weight(f"{name}_mean", mean[None]))
    return mx.sym.broadcast_div(centred, symbols.weight(f"{name}_std", std[None]))


def _calibrated(symbols: Symbols, margins: Any, seen: Any, cell: Any, position: Any, folded: Folded) -> Any:
    """Add the calibrated margins, (rows * n_categories, K - 1); see `Calibration.apply`."""
    sym, (n_categories, n_upper) = mx.sym, folded.shift.shape[1:]
    slope = np.tile(folded.slope[0], n_categories)[None]
    moved = sym.broadcast_add(
        sym.broadcast_mul(margins, symbols.weight("unseen_slope", slope)),
        symbols.weight("unseen_shift", folded.shift[0].reshape(1, -1)),
    )
    own = sym.broadcast_mul(seen, symbols.weight("seen_slope", folded.slope[1:])) + sym.take(
        symbols.weight("seen_shift", folded.shift[1]), position
    )
    both = sym.contrib.index_copy(sym.reshape(moved, (-1, n_upper)), cell, own)
    return sym.clip(both, -MARGIN_LIMIT, MARGIN_LIMIT)


def _outputs(margins: Any, n_categories: int, n_upper: int) -> list[Any]:
    """Add the probabilities of class k or a higher one, those of k = 1 apart from the others."""
    sym = mx.sym
    if n_upper == 1:
        return [sym.reshape(sym.sigmoid(margins), (-1, n_categories), name="propensities")]
    none = sym.slice_axis(margins, axis=1, begin=0, end=1) * 0.0
    classes = sym.softmax(sym.concat(none, margins, dim=1), axis=1)
    parts = [sym.slice_axis(classes, axis=1, begin=k, end=k + 1) for k in range(1, n_upper + 1)]
    reached = [parts[-1]]
    for part in reversed(parts[:-1]):
        reached.append(reached[-1] + part)
    first, *others = (sym.reshape(sym.clip(part, 0.0, 1.0), (-1, n_categories)) for part in reversed(reached))
    return [sym.identity(first, name="propensities"), sym.concat(*others, dim=1, name="class_propensities")]


def _side_by_side(flows: Sequence[Any]) -> Any:
    return flows[0] if len(flows) == 1 else mx.sym.concat(*flows, dim=1)
