"""The encoder as nodes of an ONNX graph: from a row's stored features to what the nets read.

As `models.encoding.Encoder.transform`, on plain tensors: a CSR's indices, offsets and values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.exports.onnx_graph import Graph
    from propensity.models.encoding import Encoder

END: Final = np.iinfo(np.int64).max
"""Where a slice that goes to the end ends."""


@dataclass(frozen=True)
class Entries:
    """Names of the stored values of all rows, one after the other.

    Attributes:
        feature: int64, (nnz,); `n_features` for every feature that the model doesn't know.
        squashed: sign(v) * log1p(|v|), float32, (nnz,).
        row: int64, (nnz,).
        offsets: Row i's are `offsets[i]:offsets[i + 1]`, int64, (rows + 1,).
        n_rows: int64, (1,).
    """

    feature: str
    squashed: str
    row: str
    offsets: str
    n_rows: str


@dataclass(frozen=True)
class Pairs:
    """Names of what is known of the seen pairs, row after row, positions rising in a row.

    Attributes:
        cell: `row * n_categories + position`, int64, (pairs,).
        row: int64, (pairs,).
        position: int64, (pairs,).
        signals: Standardised, float32, (pairs, n_signals); None where the model has none.
    """

    cell: str
    row: str
    position: str
    signals: str | None


def entries(graph: Graph, encoder: Encoder, indices: str, offsets: str, values: str) -> Entries:
    """Add what every part reads."""
    one, nnz = graph.constant(1), graph.add("Shape", indices)
    # log1p in double: ONNX has only log, and in float32 1 + v drops the digits of a small v.
    value = graph.cast(values, np.float64)
    magnitude = graph.add("Log", graph.add("Add", graph.add("Abs", value), graph.cast(one, np.float64)))
    squashed = graph.cast(graph.add("Mul", graph.add("Sign", value), magnitude), np.float32)
    # A mark at each row's first value says how far the row is from the last one with any: they add up to the rows.
    starts = graph.add("Slice", offsets, graph.constant(0), graph.constant(-1))
    stops = graph.add("Slice", offsets, one, graph.constant(END))
    with_any = graph.add("Squeeze", graph.add("NonZero", graph.add("Less", starts, stops)), graph.constant(0))
    before = graph.add("Slice", graph.add("Concat", graph.constant(0), with_any, axis=0), *map(graph.constant, (0, -1)))
    firsts, steps = graph.add("Gather", starts, with_any), graph.add("Sub", with_any, before)
    marks = graph.add("ScatterElements", graph.filled(nnz, 0, np.int64), firsts, steps, axis=0)
    return Entries(
        feature=graph.add("Min", indices, graph.constant(encoder.n_features)),
        squashed=squashed,
        row=graph.add("CumSum", marks, graph.scalar(0)),
        offsets=offsets,
        n_rows=graph.add("Sub", graph.add("Shape", offsets), one),
    )


def sparse_product(
    graph: Graph,
    read: Entries,
    name: str,
    feature_column: npt.NDArray[np.int32],
    weight: npt.NDArray[np.float32],
    bias: npt.NDArray[np.float32] | None = None,
    scale: npt.NDArray[np.float32] | None = None,
) -> str:
    """Add `rows @ weight + bias`, (rows, width), of the values that have a column.

    Args:
        graph: Added to.
        read: The rows.
        name: Of the weights.
        feature_column: A feature's row of `weight`, -1 if it has none, (n_features,).
        weight: (n_columns, width).
        bias: (width,); None for zeros.
        scale: What a column's values are divided by, (n_columns,).
    """
    entry, column, offsets = _select(graph, read, f"{name}.column", feature_column)
    values = graph.add("Gather", read.squashed, entry)
    if scale is not None:
        values = graph.add("Div", values, graph.add("Gather", graph.weight(f"{name}.scale", scale), column))
    # The bias is a row's first value, so that no row is empty: a product over no values isn't the same everywhere.
    last_row = np.zeros((1, weight.shape[1]), np.float32) if bias is None else bias[None]
    table = graph.weight(f"{name}.weight", np.concatenate((weight, last_row)))
    bias_column, one = graph.constant(len(weight)), graph.cast(graph.constant(1), np.float32)
    # One empty row more, since ONNX Runtime refuses to scan over none.
    ends = graph.add("Slice", offsets, graph.constant(1), graph.constant(END))
    stops = graph.add("Concat", ends, graph.add("Slice", offsets, graph.constant(-1), graph.constant(END)), axis=0)
    axis = graph.constant(0)

    def row(start: str, stop: str) -> str:
        low, high = (graph.add("Unsqueeze", bound, axis) for bound in (start, stop))
        columns = graph.add("Concat", bias_column, graph.add("Slice", column, low, high), axis=0)
        factors = graph.add("Concat", one, graph.add("Slice", values, low, high), axis=0)
        product = graph.add("MatMul", graph.add("Unsqueeze", factors, axis), graph.add("Gather", table, columns))
        return graph.add("Squeeze", product, axis)

    products = graph.for_each((offsets, stops), row, weight.shape[1])
    return graph.add("Slice", products, graph.constant(0), graph.constant(-1))


def customer_signals(graph: Graph, read: Entries, encoder: Encoder) -> str | None:
    """Add the customer's own signals, standardised, (rows, n_customer_signals)."""
    width = len(encoder.customer_signals)
    if width == 0:
        return None
    entry, signal, _ = _select(graph, read, "customer.signal", encoder.feature_customer)
    slot = graph.add("Add", _times(graph, graph.add("Gather", read.row, entry), width), signal)
    signals = _spread(graph, graph.add("Gather", read.squashed, entry), slot, read.n_rows, width)
    return _standardised(graph, "customer", signals, encoder.customer_mean, encoder.customer_std)


def seen_pairs(graph: Graph, read: Entries, encoder: Encoder) -> Pairs:
    """Add the pairs of rows and categories that have any stored signal."""
    n_categories, n_signals = len(encoder.categories), len(encoder.aligned_signals)
    entry, position, _ = _select(graph, read, "aligned.position", encoder.feature_position)
    row = graph.add("Gather", read.row, entry)
    cell = graph.add("Add", _times(graph, row, n_categories), position)
    ones = graph.add("Expand", graph.cast(graph.constant(1), np.int32), graph.add("Shape", cell))
    no_cells = graph.filled(_times(graph, read.n_rows, n_categories), 0, np.int32)
    # A cell comes once for each of its signals; only with a reduction may it.
    seen = graph.add("ScatterElements", no_cells, cell, ones, axis=0, reduction="max")
    seen_cell = graph.add("Squeeze", graph.add("NonZero", seen), graph.constant(0))
    width = graph.constant(n_categories)
    pairs = {"row": graph.add("Div", seen_cell, width), "position": graph.add("Mod", seen_cell, width)}
    if n_signals == 0:
        return Pairs(seen_cell, **pairs, signals=None)
    count = graph.cast(graph.add("Gather", graph.add("CumSum", seen, graph.scalar(0)), cell), np.int64)
    number = graph.add("Sub", count, graph.constant(1))
    signal_of = graph.weight("aligned.signal", _with_unknown(encoder.feature_signal))
    signal = graph.add("Gather", signal_of, graph.add("Gather", read.feature, entry))
    slot = graph.add("Add", _times(graph, number, n_signals), signal)
    n_pairs = graph.add("Shape", seen_cell)
    signals = _spread(graph, graph.add("Gather", read.squashed, entry), slot, n_pairs, n_signals)
    standardised = _standardised(graph, "aligned", signals, encoder.signal_mean, encoder.signal_std)
    return Pairs(seen_cell, **pairs, signals=standardised)


def _select(graph: Graph, read: Entries, name: str, table: npt.NDArray[np.int32]) -> tuple[str, str, str]:
    """Add the choice of the entries whose feature the table doesn't give -1: their places, table values and offsets."""
    found = graph.add("Gather", graph.weight(name, _with_unknown(table)), read.feature)
    keep = graph.add("GreaterOrEqual", found, graph.constant(0))
    entry = graph.add("Squeeze", graph.add("NonZero", keep), graph.constant(0))
    kept = graph.add("CumSum", graph.cast(keep, np.int64), graph.scalar(0))
    before = graph.add("Concat", graph.constant(0), kept, axis=0)
    return entry, graph.add("Gather", found, entry), graph.add("Gather", before, read.offsets)


def _spread(graph: Graph, values: str, slot: str, n_rows: str, width: int) -> str:
    """Add a dense (n_rows, width) with the values at their slots of its flat form, and 0 elsewhere."""
    nothing = graph.filled(_times(graph, n_rows, width), 0, np.float32)
    flat = graph.add("ScatterElements", nothing, slot, values, axis=0)
    return graph.add("Reshape", flat, graph.constant([-1, width]))


def _standardised(
    graph: Graph, name: str, signals: str, mean: npt.NDArray[np.float32], std: npt.NDArray[np.float32]
) -> str:
    centred = graph.add("Sub", signals, graph.weight(f"{name}.mean", mean))
    return graph.add("Div", centred, graph.weight(f"{name}.std", std))


def _times(graph: Graph, value: str, factor: int) -> str:
    return graph.add("Mul", value, graph.constant(factor))


def _with_unknown(table: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Add the row of the features that the model doesn't know: -1."""
    return np.append(table, -1).astype(np.int64)
