"""A model as an ONNX graph: encoder, nets, calibration, from raw feature vectors to propensities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from propensity.exports.folded import Folded, fold
from propensity.exports.onnx_graph import Graph
from propensity.exports.onnx_rows import Entries, Pairs, customer_signals, entries, seen_pairs, sparse_product
from propensity.exports.signature import POPULARITY, Tensor, output_tensors, popularity_tensor
from propensity.models.calibration import MARGIN_LIMIT
from propensity.models.encoding import POPULARITY_FLOOR

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from propensity.models.encoding import Encoder
    from propensity.models.model import Model

    Array = npt.NDArray[np.float32]

INDICES: Final = "indices"
OFFSETS: Final = "offsets"
VALUES: Final = "values"


def inputs(model: Model) -> tuple[Tensor, ...]:
    """Return what the graph reads: raw feature vectors as a CSR's three vectors, and the categories' popularity."""
    return (
        Tensor(name=INDICES, dtype="int64", shape=("nnz",), meaning="feature_index of each stored value, row by row"),
        Tensor(name=OFFSETS, dtype="int64", shape=("rows + 1",), meaning="row i's values are offsets[i]:offsets[i+1]"),
        Tensor(name=VALUES, dtype="float32", shape=("nnz",), meaning="the values as the lake holds them"),
        popularity_tensor(len(model.encoder.categories)),
    )


def write_onnx(path: Path, model: Model, facts: dict[str, str]) -> None:
    """Write a model as an ONNX graph; see `onnx_graph.Graph.write`.

    Raises:
        ExportError: The network is none that can be exported.
    """
    graph, folded, encoder = Graph(), fold(model), model.encoder
    read = entries(graph, encoder, INDICES, OFFSETS, VALUES)
    prior = _log_odds(graph, POPULARITY)
    hidden = _hidden(graph, read, folded, encoder)
    pairs = seen_pairs(graph, read, encoder)
    margins = _head(graph, hidden, prior, folded)
    seen = graph.add("Gather", margins, pairs.cell)
    if folded.cross_weight is not None:
        margins = graph.add("Add", margins, _crossed(graph, read, folded.cross_weight, folded))
    if folded.aligned_output is not None and pairs.signals is not None:
        customer = customer_signals(graph, read, encoder)
        last = _aligned(graph, hidden, prior, customer, pairs, pairs.signals, folded)
        seen = graph.add("Add", seen, _own(graph, last, pairs, pairs.signals, folded.aligned_output, folded))
    calibrated = _calibrated(graph, margins, seen, pairs, folded)
    n_categories = len(encoder.categories)
    reached = [
        graph.add("Reshape", part, graph.constant([-1, n_categories]))
        for part in _at_least(graph, calibrated, folded.n_upper)
    ]
    results = [reached[0]]
    if folded.n_upper > 1:
        results.append(graph.add("Concat", *reached[1:], axis=1))
    outputs = output_tensors(n_categories, model.n_classes)
    graph.write(path, inputs(model), dict(zip(outputs, results, strict=True)), facts)


def _log_odds(graph: Graph, popularity: str) -> str:
    """Add the log-odds of the popularity, (n_categories, 1)."""
    floor = POPULARITY_FLOOR
    share = graph.add("Clip", popularity, graph.constant(floor), graph.constant(1.0 - floor))
    odds = graph.add("Div", share, graph.add("Sub", graph.constant(1.0), share))
    return graph.add("Unsqueeze", graph.add("Log", odds), graph.constant(1))


def _hidden(graph: Graph, read: Entries, folded: Folded, encoder: Encoder) -> list[str]:
    """Add each net's last hidden layer, (rows, hidden[-1])."""
    first = sparse_product(
        graph, read, "deep", encoder.feature_column, folded.deep_weight, folded.deep_bias, folded.deep_scale
    )
    flow = graph.add("Relu", first)
    flows: Sequence[str] = [flow]
    if len(folded.nets) > 1:
        flows = graph.add_many("Split", len(folded.nets), flow, graph.constant(folded.units), axis=1)
    return [
        _layers(graph, flow, f"{number}.deep", net.hidden)
        for number, (flow, net) in enumerate(zip(flows, folded.nets, strict=True))
    ]


def _head(graph: Graph, hidden: Sequence[str], prior: str, folded: Folded) -> str:
    """Add the margins without what the parts that read pairs add, (rows * n_categories, K - 1)."""
    popular = graph.add("Mul", prior, graph.weight("head.prior_scale", folded.head_prior_scale))
    bias = graph.add(
        "Add", graph.add("Reshape", popular, graph.constant(-1)), graph.weight("head.bias", folded.head_bias)
    )
    weight = graph.weight("head.weight", folded.head_weight)
    margins = graph.add("Gemm", _side_by_side(graph, hidden), weight, bias, transB=1)
    return graph.add("Reshape", margins, graph.constant([-1, folded.n_upper]))


def _crossed(graph: Graph, read: Entries, weight: Array, folded: Folded) -> str:
    """Add what the history in other categories says, (rows * n_categories, K - 1)."""
    crossed = sparse_product(graph, read, "cross", folded.cross_column, weight)
    return graph.add("Reshape", crossed, graph.constant([-1, folded.n_upper]))


def _aligned(
    graph: Graph, hidden: Sequence[str], prior: str, customer: str | None, pairs: Pairs, signals: str, folded: Folded
) -> list[str]:
    """Add each net's last aligned layer, (pairs, aligned_hidden[-1])."""
    last = []
    for number, (flow, net) in enumerate(zip(hidden, folded.nets, strict=True)):
        name = f"{number}.aligned"
        of_row = _dense(
            graph, _dense(graph, flow, f"{name}.context", *net.context), f"{name}.of_context", net.of_context
        )
        if customer is not None:
            of_row = graph.add("Add", of_row, _dense(graph, customer, f"{name}.of_customer", net.of_customer))
        popular = _dense(graph, prior, f"{name}.of_prior", net.of_prior)
        of_category = graph.add("Add", popular, graph.weight(f"{name}.of_category", net.of_category))
        own = _dense(graph, signals, f"{name}.of_signals", net.of_signals)
        own = graph.add("Add", own, graph.add("Gather", of_category, pairs.position))
        own = graph.add("Add", own, graph.add("Gather", of_row, pairs.row))
        last.append(_layers(graph, graph.add("Relu", own), name, net.aligned))
    return last


def _own(graph: Graph, last: Sequence[str], pairs: Pairs, signals: str, output: Array, folded: Folded) -> str:
    """Add what the pairs' own history says, (pairs, K - 1)."""
    shared = _dense(graph, _side_by_side(graph, last), "aligned.output", output)
    linear = graph.add("Gather", graph.weight("aligned.linear", folded.aligned_linear), pairs.position)
    products = graph.add("Mul", linear, graph.add("Unsqueeze", signals, graph.constant(1)))
    alone = graph.add("ReduceSum", products, graph.constant(2), keepdims=0)
    bias = graph.add("Gather", graph.weight("aligned.bias", folded.aligned_bias), pairs.position)
    return graph.add("Add", graph.add("Add", shared, alone), bias)


def _calibrated(graph: Graph, margins: str, seen: str, pairs: Pairs, folded: Folded) -> str:
    """Add the calibrated margins, (rows * n_categories, K - 1); see `Calibration.apply`."""
    slopes, shifts = (
        [graph.weight(f"calibration.{name}.{group}", array[i]) for i, group in enumerate(("unseen", "seen"))]
        for name, array in (("slope", folded.slope), ("shift", folded.shift))
    )
    by_row = graph.constant([-1, *folded.shift.shape[1:]])
    unseen = graph.add("Add", graph.add("Reshape", graph.add("Mul", margins, slopes[0]), by_row), shifts[0])
    own = graph.add("Add", graph.add("Mul", seen, slopes[1]), graph.add("Gather", shifts[1], pairs.position))
    # No cell comes twice: ONNX Runtime's threads race for one that does.
    cells = graph.add("Unsqueeze", pairs.cell, graph.constant(1))
    everywhere = graph.add("Reshape", unseen, graph.constant([-1, folded.n_upper]))
    both = graph.add("ScatterND", everywhere, cells, own)
    return graph.add("Clip", both, graph.constant(-MARGIN_LIMIT), graph.constant(MARGIN_LIMIT))


def _at_least(graph: Graph, margins: str, n_upper: int) -> list[str]:
    """Add the probabilities of class k or a higher one, k = 1 .. K - 1, each (rows * n_categories, 1)."""
    if n_upper == 1:
        return [graph.add("Sigmoid", margins)]
    none = graph.add("Mul", graph.add("Slice", margins, *map(graph.constant, (0, 1, 1))), graph.constant(0.0))
    classes = graph.add("Softmax", graph.add("Concat", none, margins, axis=1), axis=1)
    parts = graph.add_many("Split", n_upper + 1, classes, graph.constant([1] * (n_upper + 1)), axis=1)
    reached = [parts[-1]]
    for part in reversed(parts[1:-1]):
        # Added up from the highest: a class is never likelier than itself and the higher ones together.
        reached.append(graph.add("Add", reached[-1], part))
    return [graph.add("Min", part, graph.constant(1.0)) for part in reversed(reached)]


def _layers(graph: Graph, flow: str, name: str, layers: Sequence[tuple[Array, Array]]) -> str:
    for number, (weight, bias) in enumerate(layers):
        flow = graph.add("Relu", _dense(graph, flow, f"{name}.layers.{number}", weight, bias))
    return flow


def _dense(graph: Graph, flow: str, name: str, weight: Array, bias: Array | None = None) -> str:
    """Add `flow @ weight.T + bias` of a weight (out, in)."""
    terms = [] if bias is None else [graph.weight(f"{name}.bias", bias)]
    return graph.add("Gemm", flow, graph.weight(f"{name}.weight", weight), *terms, transB=1)


def _side_by_side(graph: Graph, flows: Sequence[str]) -> str:
    return flows[0] if len(flows) == 1 else graph.add("Concat", *flows, axis=1)
