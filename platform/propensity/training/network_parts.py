"""The parts of the nets, as MXNet Gluon blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.sparse import csr_matrix

from propensity.models.forward import PRIOR_SCALE
from propensity.training.activation import ALL, activate, take_back
from propensity.training.dropout import Dropout
from propensity.training.mxnet_runtime import mx, view
from propensity.training.pair_layers import PairWeights
from propensity.training.sparse_linear import SparseLinear, SparseRows

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.training.batches import Batch
    from propensity.training.dropout import Masks
    from propensity.training.networks import NetworkShape

    Floats = npt.NDArray[np.float32]

nd, gluon = mx.nd, mx.gluon

ONE: Final = SparseRows.of(csr_matrix(np.ones((1, 1), np.float32)))
"""What a bias is the weight of, with its gradient summed up over rows."""


class DeepPart(gluon.Block):  # type: ignore[misc,name-defined]
    """Sparse input layer and hidden layers: CSR (B, n_columns) to (B, hidden[-1])."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        width = shape.hidden[0]
        with self.name_scope():
            self.layers = _layers(width, shape.hidden[1:])
        self.input = SparseLinear(shape.n_columns, width)
        self.input_bias = SparseLinear(1, width)
        self.dropout = Dropout(shape.dropout)
        self._recorded: tuple[SparseRows, Floats, Masks, Any] | None = None
        self._gradient: tuple[SparseRows, Floats, Floats] | None = None

    def forward(self, batch: Batch) -> Any:
        """Return the last hidden layer."""
        first, masks = self.input.product(batch.deep), self.dropout.draw() or ALL
        activate(first, self.input_bias.weight[0], masks)
        hidden = nd.from_numpy(first)
        if mx.autograd.is_recording():
            hidden.attach_grad()
            self._recorded = batch.deep, first, masks, hidden
        for layer in self.layers:
            hidden = self.dropout(layer(hidden))
        return hidden

    def backward(self) -> None:
        """Take the gradient of the last recorded batch's hidden layer to the input layer, after MXNet's backward pass.

        Raises:
            ValueError: No batch was recorded.
        """
        if self._recorded is None:
            raise ValueError("There is no recorded batch to go back over.")
        (rows, first, masks, hidden), self._recorded = self._recorded, None
        gradient, of_bias = view(hidden.grad).copy(), np.zeros_like(self.input_bias.weight)
        take_back(gradient, first, masks, of_bias[0])
        self._gradient = rows, gradient, of_bias

    def step(self, learning_rate: float) -> None:
        """Move the input layer by the gradient, and use it up. Without MXNet, in whichever thread.

        Raises:
            ValueError: There was no backward pass.
        """
        if self._gradient is None:
            raise ValueError("There is no gradient to step by.")
        (rows, gradient, of_bias), self._gradient = self._gradient, None
        self.input.step(learning_rate, rows, gradient)
        self.input_bias.step(learning_rate, ONE, of_bias)


class Head(gluon.Block):  # type: ignore[misc,name-defined]
    """K-class softmax outputs of all categories in one product, and the scale of the popularity prior.

    A column for each class but "none", whose logit is 0: a K-th column would say nothing more and cost as much as the
    others.
    """

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        with self.name_scope():
            self.output = gluon.nn.Dense((shape.n_classes - 1) * shape.n_categories, in_units=shape.hidden[-1])
            self.prior_scale = self.params.get("prior_scale", shape=(1, shape.n_classes - 1, 1), wd_mult=0.0)

    def forward(self, hidden: Any) -> tuple[Any, Any]:
        """Return `Summands.head` and `Summands.prior_scale`."""
        return self.output(hidden), _as_output(self.prior_scale)


class AlignedPart(gluon.Block):  # type: ignore[misc,name-defined]
    """What a category's own history says about it, for seen pairs only.

    A small net shared by all categories reads the pair's signals, the category's embedding and recent
    popularity, the row's context and the customer's own signals, such as how often she comes; a linear term per
    category reads the pair's signals. MXNet computes what the first layer takes from categories and rows, `PairLayers`
    the rest.
    """

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        n_out = shape.n_classes - 1
        self._widths = (shape.n_signals, shape.embedding, shape.context, 1, shape.n_customer_signals)
        with self.name_scope():
            self.context = gluon.nn.Dense(shape.context, in_units=shape.hidden[-1])
            self.embedding = self.params.get("embedding", shape=(shape.n_categories, shape.embedding))
            self.linear = self.params.get("linear", shape=(shape.n_categories, (shape.n_signals + 1) * n_out))
            self.layers = _layers(sum(self._widths), shape.aligned_hidden)
            self.output = gluon.nn.Dense(n_out, in_units=shape.aligned_hidden[-1])
        self.dropout = Dropout(shape.aligned_dropout)

    def forward(self, hidden: Any, batch: Batch) -> PairWeights:
        """Return what `PairLayers` reads, MXNet's arrays."""
        ends = np.cumsum(self._widths).tolist()
        first, *others = self.layers
        of_signals, of_embedding, of_context, of_prior, *of_customer = (
            nd.slice_axis(first.weight.data(), 1, end - width, end)
            for width, end in zip(self._widths, ends, strict=True)
            if width  # there may be no signals of the customer
        )
        units = first.weight.shape[0]
        of_category = nd.FullyConnected(self.embedding.data(), of_embedding, first.bias.data(), num_hidden=units)
        of_row = nd.FullyConnected(self.context(hidden), of_context, no_bias=True, num_hidden=units)
        if of_customer:
            customer = nd.from_numpy(batch.customer)
            of_row = of_row + nd.FullyConnected(customer, *of_customer, no_bias=True, num_hidden=units)
        later = [_as_output(parameter) for layer in others for parameter in (layer.weight, layer.bias)]
        output = (self.output.weight, self.output.bias, self.linear)
        return PairWeights(
            of_category,
            of_row,
            of_signals,
            of_prior * PRIOR_SCALE,
            tuple(later),
            *map(_as_output, output),
        )

    def masks(self) -> list[Masks]:
        """Draw masks for each hidden layer; outside of training, or without dropout, they leave nothing out."""
        return [self.dropout.draw() or ALL for _ in self.layers]


def _as_output(parameter: Any) -> Any:
    """Return a parameter's values as an operator's output, whose gradient can be given from outside."""
    return parameter.data() * 1.0


def _layers(width: int, widths: tuple[int, ...]) -> Any:
    layers = gluon.nn.Sequential()
    for units in widths:
        layers.add(gluon.nn.Dense(units, activation="relu", in_units=width))
        width = units
    return layers
