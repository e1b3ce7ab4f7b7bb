"""A model's weights as the exported graphs read them: the nets' mean taken in the weights wherever that is linear.

The sums are those of `models.forward` and `models.calibration`, in another order. Margins lie by category, then class,
so that a pair of a row and a category is one line of K - 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from propensity.errors import ExportError
from propensity.models.forward import PRIOR_SCALE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from propensity.models.encoding import Encoder
    from propensity.models.model import Model

    Array = npt.NDArray[np.float32]
    Layers = list[tuple[Array, Array]]
    Weights = dict[str, Array]

NETWORKS: Final = ("category_aligned", "feed_forward")


@dataclass(frozen=True)
class FoldedNet:
    """What stays a net's own. Weights are (out, in), biases (out,), all float32.

    Attributes:
        hidden: Layers of the deep part after the first.
        context: Weight and bias of the vector that the deep part hands to the category-aligned part.
        of_context, of_customer, of_signals, of_prior: What the first aligned layer takes from each.
        of_category: What it takes from the category's embedding, with its bias, (N, out).
        aligned: Its later layers.
    """

    hidden: Layers
    context: tuple[Array, Array]
    of_context: Array
    of_customer: Array
    of_signals: Array
    of_prior: Array
    of_category: Array
    aligned: Layers


@dataclass(frozen=True)
class Folded:
    """All weights, float32. N is the number of categories, S that of aligned signals, M = K - 1.

    Attributes:
        n_upper: M.
        deep_weight: First layer of all nets side by side, (n_columns, units).
        deep_bias: (units,).
        deep_scale: What a column's values are divided by, (n_columns,).
        units: Of each net in the first layer.
        nets: For each net.
        head_weight: On the last hidden layers of all nets, (N * M, hidden).
        head_bias: (N * M,).
        head_prior_scale: On the log-odds of popularity, (1, M).
        cross_column: A feature's row of `cross_weight`, -1 if it has none, int32, (n_features,).
        cross_weight: (N * n_cross_signals, N * M); None without a cross part.
        aligned_output: On the last aligned layers of all nets, (M, units); None without an aligned part.
        aligned_linear: (N, M, S).
        aligned_bias: (N, M).
        slope: Calibration's, of unseen and of seen pairs, (2, M).
        shift: (2, N, M).
    """

    n_upper: int
    deep_weight: Array
    deep_bias: Array
    deep_scale: Array
    units: tuple[int, ...]
    nets: tuple[FoldedNet, ...]
    head_weight: Array
    head_bias: Array
    head_prior_scale: Array
    cross_column: npt.NDArray[np.int32]
    cross_weight: Array | None
    aligned_output: Array | None
    aligned_linear: Array
    aligned_bias: Array
    slope: Array
    shift: Array


def fold(model: Model) -> Folded:
    """Fold a model's weights.

    Raises:
        ExportError: The network is none that can be exported.
    """
    if model.network not in NETWORKS:
        raise ExportError(
            f"Network {model.network!r} can't be exported; {', '.join(NETWORKS)} can. See training.network in: "
            "propensity config"
        )
    encoder, nets, n_upper = model.encoder, model.nets, model.n_classes - 1
    n_signals = len(encoder.aligned_signals)
    aligned = reads_pairs(model)
    calibration = model.calibration
    intercept = calibration.intercept.astype(np.float32)[:, :, None]
    no_linear = np.zeros((len(encoder.categories), n_upper, n_signals + 1), np.float32)
    linear = _mean(model, "aligned.linear").reshape(no_linear.shape) if aligned else no_linear
    return Folded(
        n_upper=n_upper,
        deep_weight=np.concatenate([net["deep.input_weight"] for net in nets], axis=1),
        deep_bias=np.concatenate([net["deep.input_bias"].reshape(-1) for net in nets]),
        deep_scale=encoder.column_scale if encoder.n_columns else np.ones(1, np.float32),
        units=tuple(net["deep.input_weight"].shape[1] for net in nets),
        nets=tuple(_folded_net(net, n_signals if aligned else None) for net in nets),
        head_weight=_side_by_side([_by_category(net["head.output.weight"], n_upper) for net in nets]),
        head_bias=_by_category(_mean(model, "head.output.bias")[:, None], n_upper)[:, 0],
        head_prior_scale=_mean(model, "head.prior_scale").reshape(1, n_upper),
        cross_column=cross_column(encoder),
        cross_weight=_by_category(_mean(model, "cross.weight").T, n_upper).T if crosses(model) else None,
        aligned_output=_side_by_side([net["aligned.output.weight"] for net in nets]) if aligned else None,
        aligned_linear=np.ascontiguousarray(linear[:, :, :-1]),
        aligned_bias=linear[:, :, -1] + (_mean(model, "aligned.output.bias") if aligned else np.float32(0.0)),
        slope=calibration.slope.astype(np.float32),
        shift=np.ascontiguousarray((intercept + calibration.offset).transpose(0, 2, 1)),
    )


def reads_pairs(model: Model) -> bool:
    """Tell whether the nets have a category-aligned part with anything to read."""
    return model.network == "category_aligned" and len(model.encoder.aligned_signals) > 0


def crosses(model: Model) -> bool:
    """Tell whether the nets have a cross-category part."""
    return "cross.weight" in model.nets[0]


def cross_column(encoder: Encoder) -> npt.NDArray[np.int32]:
    """Return each feature's column in the cross-category part's input, -1 if it has none, int32, (n_features,)."""
    n_cross = len(encoder.cross_signals)
    place = np.full(len(encoder.aligned_signals) + 1, -1, np.int32)
    place[list(encoder.cross_signals)] = np.arange(n_cross)
    which = place[encoder.feature_signal]  # of no signal, -1, the last place, which stays -1
    return np.where(which >= 0, encoder.feature_position * n_cross + which, -1).astype(np.int32)


def _folded_net(net: Weights, n_signals: int | None) -> FoldedNet:
    nothing = np.zeros((0, 0), np.float32)
    hidden = _layers(net, "deep.layers")
    if n_signals is None:
        return FoldedNet(hidden, (nothing, np.zeros(0, np.float32)), nothing, nothing, nothing, nothing, nothing, [])
    (first, bias), *later = _layers(net, "aligned.layers")
    context, embedding = net["aligned.context.weight"], net["aligned.embedding"]
    widths = (n_signals, embedding.shape[1], context.shape[0], 1)
    of_signals, of_embedding, of_context, of_prior, of_customer = np.split(first, np.cumsum(widths), axis=1)
    return FoldedNet(
        hidden=hidden,
        context=(context, net["aligned.context.bias"]),
        of_context=of_context,
        of_customer=of_customer,
        of_signals=of_signals,
        of_prior=of_prior * np.float32(PRIOR_SCALE),
        of_category=embedding @ of_embedding.T + bias,
        aligned=later,
    )


def _layers(net: Weights, path: str) -> Layers:
    count = sum(name.startswith(f"{path}.") and name.endswith(".weight") for name in net)
    return [(net[f"{path}.{i}.weight"], net[f"{path}.{i}.bias"]) for i in range(count)]


def _mean(model: Model, name: str) -> Array:
    mean: Array = np.mean([net[name] for net in model.nets], axis=0, dtype=np.float32)
    return mean


def _side_by_side(parts: Sequence[Array]) -> Array:
    """Lay the nets' weights side by side, each divided by their number: a product with all inputs gives the mean."""
    return np.concatenate([part / np.float32(len(parts)) for part in parts], axis=1)


def _by_category(weight: Array, n_upper: int) -> Array:
    """Reorder lines that go by class, then category, to go by category, then class."""
    return np.ascontiguousarray(weight.reshape(n_upper, -1, weight.shape[1]).transpose(1, 0, 2)).reshape(weight.shape)
