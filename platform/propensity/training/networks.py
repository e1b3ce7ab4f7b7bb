"""The nets, as MXNet Gluon blocks. A second net is a second class and a line in NETWORKS.

A net answers with margins: the log-odds of class k = 1..K-1 against class 0 (none), per row and category; softmax over
(0, margins) gives the K probabilities. `models/forward.py` has the same nets without a framework, for scoring; a test
holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from propensity.models.forward import PRIOR_SCALE
from propensity.training.dropout import Dropout
from propensity.training.encoding import ROW_LENGTH
from propensity.training.mxnet_runtime import mx
from propensity.training.sparse_linear import SparseLinear

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.training.batches import Batch

nd, gluon = mx.nd, mx.gluon


@dataclass(frozen=True)
class NetworkShape:
    """Widths of a net.

    Attributes:
        n_columns: Columns of the deep part's sparse input.
        n_categories: N.
        n_classes: K.
        n_signals: Category-aligned signals.
        n_cross_signals: Those of them that the cross-category part reads; 0 leaves it out.
        n_customer_signals: Signals of the customer as a whole.
        hidden: Hidden layers of the deep part.
        aligned_hidden: Hidden layers of the category-aligned part.
        embedding: Width of a category's embedding.
        context: Width of the vector the deep part hands to the category-aligned part.
        dropout: Share of the deep part's hidden units dropped in training.
        aligned_dropout: The same in the category-aligned part.
    """

    n_columns: int
    n_categories: int
    n_classes: int
    n_signals: int
    n_cross_signals: int
    n_customer_signals: int
    hidden: tuple[int, ...]
    aligned_hidden: tuple[int, ...]
    embedding: int
    context: int
    dropout: float
    aligned_dropout: float


class DeepPart(gluon.Block):  # type: ignore[misc,name-defined]
    """Sparse input layer and hidden layers: CSR (B, n_columns) to (B, hidden[-1])."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        width = shape.hidden[0]
        with self.name_scope():
            self.input = SparseLinear(shape.n_columns, width)
            self.input_bias = self.params.get("input_bias", shape=(1, width), wd_mult=0.0)
            self.layers = _layers(width, shape.hidden[1:])
        self.dropout = Dropout(shape.dropout)

    def forward(self, batch: Batch) -> Any:
        """Return the last hidden layer."""
        hidden = self.dropout(nd.relu(nd.broadcast_add(self.input(batch.deep), self.input_bias.data())))
        for layer in self.layers:
            hidden = self.dropout(layer(hidden))
        return hidden


class Head(gluon.Block):  # type: ignore[misc,name-defined]
    """K-class softmax outputs of all categories in one product, plus the popularity prior.

    A column for each class but "none", whose logit is 0: a K-th column would say nothing more and cost as much as the
    others.
    """

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self._shape = (-1, shape.n_classes - 1, shape.n_categories)
        with self.name_scope():
            self.output = gluon.nn.Dense((shape.n_classes - 1) * shape.n_categories, in_units=shape.hidden[-1])
            self.prior_scale = self.params.get("prior_scale", shape=(1, shape.n_classes - 1, 1), wd_mult=0.0)

    def forward(self, hidden: Any, batch: Batch) -> Any:
        """Return margins (B, K - 1, N)."""
        margins = self.output(hidden).reshape(self._shape)
        return margins + nd.broadcast_mul(nd.expand_dims(batch.prior, 1), self.prior_scale.data())


class AlignedPart(gluon.Block):  # type: ignore[misc,name-defined]
    """What a category's own history says about it, for seen pairs only.

    A small net shared by all categories reads the pair's signals, the category's embedding and recent
    popularity, the row's context and the customer's own signals, such as how often she comes; a linear term per
    category reads the pair's signals.
    """

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self._n_out = shape.n_classes - 1
        n_linear = (shape.n_signals + 1) * self._n_out
        n_in = shape.n_signals + shape.embedding + shape.context + 1 + shape.n_customer_signals
        with self.name_scope():
            self.context = gluon.nn.Dense(shape.context, in_units=shape.hidden[-1])
            self.embedding = self.params.get("embedding", shape=(shape.n_categories, shape.embedding))
            self.linear = self.params.get("linear", shape=(shape.n_categories, n_linear))
            self.layers = _layers(n_in, shape.aligned_hidden)
            self.output = gluon.nn.Dense(self._n_out, in_units=(n_in, *shape.aligned_hidden)[-1])
        self.dropout = Dropout(shape.aligned_dropout)

    def forward(self, hidden: Any, batch: Batch) -> Any:
        """Return what to add to the margins of the seen pairs, (P, K - 1)."""
        context = nd.take(self.context(hidden), batch.pair_row)
        embedding = nd.take(self.embedding.data(), batch.pair_position)
        inputs = [batch.pair_signals, embedding, context, batch.pair_prior * PRIOR_SCALE]
        if batch.customer is not None:
            inputs.append(nd.take(batch.customer, batch.pair_row))
        flow = nd.concat(*inputs, dim=1)
        for layer in self.layers:
            flow = self.dropout(layer(flow))
        linear = nd.take(self.linear.data(), batch.pair_position).reshape((0, self._n_out, -1))
        weight, bias = nd.slice_axis(linear, 2, 0, -1), nd.slice_axis(linear, 2, -1, None)
        weighted = nd.broadcast_mul(weight, nd.expand_dims(batch.pair_signals, 1))
        # MXNet's sum over the last axis takes ten times as long as a product with ones.
        own = nd.dot(weighted, nd.ones((weighted.shape[2], 1))).reshape((0, -1))
        return self.output(flow) + own + bias.reshape((0, -1))


class CrossPart(gluon.Block):  # type: ignore[misc,name-defined]
    """What the history in other categories says about a category the customer has none in.

    One linear map of N x N weights per signal, strongly decayed: the full-rank item-to-item model of Ning and
    Karypis 2011 (SLIM) and Steck 2019 (EASE), here inside the likelihood. The deep part's hidden layers are too
    narrow for it. On seen pairs, where the category's own history speaks, it only overfits: they don't get it.
    """

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self._shape = (-1, shape.n_classes - 1, shape.n_categories)
        self.linear = SparseLinear(
            shape.n_categories * shape.n_cross_signals, (shape.n_classes - 1) * shape.n_categories
        )

    def forward(self, batch: Batch, seen: Any) -> Any:
        """Return what to add to the margins, (B, K - 1, N), given 1 for seen pairs and else 0, (B, 1, N)."""
        assert batch.cross is not None  # there are seen pairs
        crossed = self.linear(batch.cross).reshape(self._shape)
        return nd.broadcast_mul(crossed, 1.0 - seen)


class FeedForward(gluon.Block):  # type: ignore[misc,name-defined]
    """The published net: sparse input, hidden layers, N softmax outputs of K classes."""

    reads_aligned_columns = True
    """Whether the deep part's input has columns for category-aligned features."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        with self.name_scope():
            self.deep = DeepPart(shape)
            self.head = Head(shape)

    def forward(self, batch: Batch) -> Any:
        """Return margins (B, K - 1, N)."""
        return self.head(self.deep(batch), batch)


class CategoryAligned(gluon.Block):  # type: ignore[misc,name-defined]
    """The published net, a category-aligned part on seen pairs and a cross-category part on the others.

    The cost of both follows the seen pairs.
    """

    # Measured: columns for them double the time and change the log loss by less than seeds do.
    reads_aligned_columns = False

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        with self.name_scope():
            self.deep = DeepPart(shape)
            self.head = Head(shape)
            self.aligned = AlignedPart(shape)
            self.cross = CrossPart(shape) if shape.n_cross_signals else None

    def forward(self, batch: Batch) -> Any:
        """Return margins (B, K - 1, N)."""
        hidden = self.deep(batch)
        margins = self.head(hidden, batch)
        if batch.pair_signals is None:
            return margins
        n_rows, n_margins, n_categories = margins.shape
        own = self.aligned(hidden, batch)
        where = nd.stack(batch.pair_row, batch.pair_position)
        scattered = nd.scatter_nd(own, where, shape=(n_rows, n_categories, n_margins))
        margins = margins + nd.transpose(scattered, (0, 2, 1))
        if self.cross is None:
            return margins
        seen = nd.scatter_nd(nd.ones_like(batch.pair_prior), where, shape=(n_rows, n_categories, 1))
        return margins + self.cross(batch, nd.transpose(seen, (0, 2, 1)))


NETWORKS: Final[dict[str, type[Any]]] = {"category_aligned": CategoryAligned, "feed_forward": FeedForward}


def build(network: str, shape: NetworkShape, rng: np.random.Generator) -> Any:
    """Build a net of NETWORKS and draw its first weights from `rng`.

    Hidden weights follow He et al. 2015. Biases, outputs of the aligned part, its linear term and the cross part
    start at zero, the popularity prior at one: an untrained net says "as popular as lately".
    """
    net = NETWORKS[network](shape)
    net.initialize(mx.init.Zero())
    set_weights(net, {name: _first_weights(name, value.shape, rng) for name, value in weights(net).items()})
    for name, parameter in parameters(net).items():
        if name.endswith("bias"):
            parameter.wd_mult = 0.0
    return net


def weights(net: Any) -> dict[str, npt.NDArray[np.float32]]:
    """Return a copy of all weights by their path in the net, e.g. `deep.layers.0.weight`."""
    sparse = {name: layer.weight.copy() for name, layer in sparse_layers(net).items()}
    return sparse | {name: parameter.data().asnumpy() for name, parameter in parameters(net).items()}


def set_weights(net: Any, values: dict[str, npt.NDArray[np.float32]]) -> None:
    """Set all weights, by their path in the net.

    Raises:
        ValueError: One is missing or of another shape; none was set.
    """
    layers, by_path = sparse_layers(net), parameters(net)
    shapes = {name: layer.weight.shape for name, layer in layers.items()}
    shapes |= {name: parameter.shape for name, parameter in by_path.items()}
    for name, shape in shapes.items():
        if name not in values or values[name].shape != shape:
            raise ValueError(f"{name} should have shape {shape}")
    for name, layer in layers.items():
        layer.weight[:] = values[name]
    for name, parameter in by_path.items():
        parameter.set_data(nd.array(values[name]))


def reseed_dropout(net: Any, *seed: int) -> None:
    """Start the masks of all of the net's dropouts anew, from non-negative numbers."""
    parts = [net.deep] + ([net.aligned] if hasattr(net, "aligned") else [])
    for part, own in zip(parts, np.random.SeedSequence(seed).spawn(len(parts)), strict=True):
        part.dropout.reseed(own)


def parameters(net: Any) -> dict[str, Any]:
    """Return MXNet's parameters by their path in the net; those that shrink in training have a `wd_mult` above 0."""
    by_path: dict[str, Any] = net._collect_params_with_prefix()  # noqa: SLF001 - as save_parameters does
    return by_path


def sparse_layers(net: Any) -> dict[str, SparseLinear]:
    """Return the layers of sparse rows, whose weights MXNet doesn't know, by their weight's path in the net."""
    layers = {"deep.input_weight": net.deep.input}
    if getattr(net, "cross", None) is not None:
        layers["cross.weight"] = net.cross.linear
    return layers


def _layers(width: int, widths: tuple[int, ...]) -> Any:
    layers = gluon.nn.Sequential()
    for units in widths:
        layers.add(gluon.nn.Dense(units, activation="relu", in_units=width))
        width = units
    return layers


def _first_weights(name: str, size: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    if name == "head.prior_scale":
        return np.ones(size, np.float32)
    if name.endswith("bias") or name in {"aligned.linear", "aligned.output.weight", "cross.weight"}:
        return np.zeros(size, np.float32)
    fan_in = {"deep.input_weight": ROW_LENGTH, "aligned.embedding": 100.0}.get(name, size[-1])
    gain = {"head.output.weight": 0.1, "aligned.embedding": 1.0}.get(name, 2.0)
    return rng.normal(0.0, np.sqrt(gain / fan_in), size).astype(np.float32)
