"""The nets, as MXNet Gluon blocks. A second net is a second class and a line in NETWORKS.

A net answers with margins: the log-odds of class k = 1..K-1 against class 0 (none), per row and category; softmax over
(0, margins) gives the K probabilities. `models/forward.py` has the same nets without a framework, for scoring; a test
holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from propensity.training.encoding import ROW_LENGTH
from propensity.training.multilabel_loss import Gradients, Summands
from propensity.training.mxnet_runtime import mx, view
from propensity.training.network_parts import AlignedPart, DeepPart, Head
from propensity.training.pair_layers import PairLayers, PairWeights
from propensity.training.sparse_linear import SparseLinear

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.training.batches import Batch
    from propensity.training.sparse_linear import SparseRows

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


class FeedForward(gluon.Block):  # type: ignore[misc,name-defined]
    """The published net: sparse input, hidden layers, N softmax outputs of K classes.

    Inside `autograd.record()` a forward pass is kept; `backward` and then `step`, which moves the weights that MXNet
    doesn't know, use it up.
    """

    reads_aligned_columns = True
    """Whether the deep part's input has columns for category-aligned features."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        with self.name_scope():
            self.deep = DeepPart(shape)
            self.head = Head(shape)
        self._outputs: list[Any] = []

    def forward(self, batch: Batch) -> Summands:
        """Return the summands of the margins."""
        self._outputs = list(self.head(self.deep(batch)))
        head, prior_scale = map(view, self._outputs)
        return Summands(head, prior_scale, own=None, crossed=None)

    def backward(self, gradients: Gradients) -> None:
        """Compute all gradients, given those by the summands."""
        self._back(gradients.head, gradients.prior_scale)

    def _back(self, *gradients: Any) -> None:
        outputs, self._outputs = self._outputs, []
        mx.autograd.backward(outputs, [nd.from_numpy(gradient) for gradient in gradients])
        self.deep.backward()

    def step(self, learning_rate: float) -> None:
        """Move the weights of the sparse layers. Without MXNet, in whichever thread."""
        self.deep.step(learning_rate)


class CategoryAligned(FeedForward):
    """The published net, a category-aligned part on seen pairs and a cross-category part on the others.

    The cost of both follows the seen pairs, and the weights.

    The cross-category part says what the history in other categories says about one that the customer has none in: one
    linear map of N x N weights per signal, strongly decayed, the full-rank item-to-item model of Ning and Karypis 2011
    (SLIM) and Steck 2019 (EASE), here inside the likelihood. The deep part's hidden layers are too narrow for it. On
    seen pairs, where the category's own history speaks, it only overfits: they don't get it.
    """

    # Measured: columns for them double the time and change the log loss by less than seeds do.
    reads_aligned_columns = False

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__(shape)
        with self.name_scope():
            self.aligned = AlignedPart(shape)
        self.cross = None
        self._cross_rows: SparseRows | None = None
        self._crossed: tuple[SparseRows, npt.NDArray[np.float32]] | None = None
        if shape.n_cross_signals:
            n_out = (shape.n_classes - 1) * shape.n_categories
            self.cross = SparseLinear(shape.n_categories * shape.n_cross_signals, n_out)

    def forward(self, batch: Batch) -> Summands:
        """Return the summands of the margins."""
        hidden = self.deep(batch)
        self._outputs, self._cross_rows, self._crossed = list(self.head(hidden)), None, None
        head, prior_scale = map(view, self._outputs)
        if batch.pair_signals is None:
            return Summands(head, prior_scale, own=None, crossed=None)
        reads = self.aligned(hidden, batch).arrays()
        self._outputs += reads
        pairs = PairLayers(PairWeights.of([view(array) for array in reads]), batch, self.aligned.masks())
        crossed = None
        if self.cross is not None and batch.cross is not None:
            self._cross_rows, crossed = batch.cross, self.cross.product(batch.cross)
        return Summands(head, prior_scale, pairs, crossed)

    def backward(self, gradients: Gradients) -> None:
        """Compute all gradients, given those by the summands."""
        if self._cross_rows is not None and gradients.crossed is not None:
            self._crossed = self._cross_rows, gradients.crossed
        pairs = [] if gradients.own is None else gradients.own.arrays()
        self._back(gradients.head, gradients.prior_scale, *pairs)

    def step(self, learning_rate: float) -> None:
        """Move the weights of the sparse layers."""
        super().step(learning_rate)
        if self.cross is not None and self._crossed is not None:
            self.cross.step(learning_rate, *self._crossed)
        self._cross_rows = self._crossed = None


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
    layers = {"deep.input_weight": net.deep.input, "deep.input_bias": net.deep.input_bias}
    if getattr(net, "cross", None) is not None:
        layers["cross.weight"] = net.cross
    return layers


def _first_weights(name: str, size: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    if name == "head.prior_scale":
        return np.ones(size, np.float32)
    if name.endswith("bias") or name in {"aligned.linear", "aligned.output.weight", "cross.weight"}:
        return np.zeros(size, np.float32)
    fan_in = {"deep.input_weight": ROW_LENGTH, "aligned.embedding": 100.0}.get(name, size[-1])
    gain = {"head.output.weight": 0.1, "aligned.embedding": 1.0}.get(name, 2.0)
    return rng.normal(0.0, np.sqrt(gain / fan_in), size).astype(np.float32)
