"""Starting a net from a previous model's weights, with a vocabulary that has grown and categories that came and went.

Weights are carried over by name: a feature's, a signal's, a category's. Where the new encoder scales or standardises
otherwise, the weights take that up, so on what both models know the net that starts gives the margins that the previous
one ended with. What is new starts at zero, and so changes nothing at first: a new category starts at its popularity.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from propensity.errors import TrainingError

if TYPE_CHECKING:
    from datetime import datetime

    from propensity.models.artifact import Artifact
    from propensity.models.encoding import Encoder
    from propensity.models.model import Model
    from propensity.training.cutoffs import Cutoffs

Floats = npt.NDArray[np.float32]
Weights = dict[str, Floats]

WHAT_NEXT: Final = "Train without it, or set them back."


def models_to_start_from(previous: Artifact, cutoffs: Cutoffs) -> tuple[Model, Model]:
    """Return the models to start the first nets and the refitted ones from: the first knows no label of the validation.

    Raises:
        TrainingError: All that the previous model holds has learned from labels later than the validation as_of.
    """
    first = ended_by(previous, cutoffs.validation)
    if first is None:
        raise TrainingError(
            f"Model {previous.metadata.model_version} has learned from labels up to "
            f"{previous.metadata.training_window[1]:%Y-%m-%d %H:%M} UTC, after the validation as_of "
            f"{cutoffs.validation:%Y-%m-%d %H:%M} UTC: stopping and calibration would be flattered. Start from an "
            "older one (propensity models list), or train without --from-model."
        )
    if previous.metadata.training_window[1] > cutoffs.trained_as_of:
        raise TrainingError(
            f"Model {previous.metadata.model_version} was trained on later data than {cutoffs.trained_as_of:%Y-%m-%d}. "
            "Start from an older one: propensity models list"
        )
    return first.model, previous.model


def ended_by(previous: Artifact, instant: datetime) -> Artifact | None:
    """Return the artifact, or the validated one in it, if all its labels were known by the instant."""
    for artifact in (previous, previous.validated_artifact):
        if artifact is not None and artifact.metadata.training_window[1] <= instant:
            return artifact
    return None


def carried_over(
    previous: Model, net: int, encoder: Encoder, fresh: Weights, *, network: str, n_classes: int
) -> Weights:
    """Return first weights for a net that goes on from a previous model's.

    Args:
        previous: The model to go on from.
        net: Number of the net; one beyond the previous model's starts from them in turn.
        encoder: Of the net that starts.
        fresh: Weights as `networks.build` draws them: they give the shapes, and new categories' embeddings.
        network: Key of training.networks.NETWORKS.
        n_classes: K.

    Raises:
        TrainingError: The previous model is another network, or one of other widths or classes.
    """
    if (previous.network, previous.n_classes) != (network, n_classes):
        raise TrainingError(
            f"The previous model is {previous.network!r} with {previous.n_classes} classes, this one {network!r} with "
            f"{n_classes}. {WHAT_NEXT}"
        )
    old, width = previous.nets[net % len(previous.nets)], n_classes - 1
    before = previous.encoder
    categories = _by_name(before.categories, encoder.categories)
    found = {name: old[name].copy() for name in fresh if name in old}
    found["deep.input_weight"] = _input_weight(before, encoder, old["deep.input_weight"])
    output = old["head.output.weight"].reshape(width, len(before.categories), -1)
    found["head.output.weight"] = _moved(output, 1, categories).reshape(-1, output.shape[2])
    bias = old["head.output.bias"].reshape(width, -1)
    found["head.output.bias"] = _moved(bias, 1, categories).ravel()
    if network == "category_aligned":
        found |= _aligned(before, encoder, old, fresh, categories, width)
    if "cross.weight" in fresh:
        found["cross.weight"] = _cross(
            before, encoder, old.get("cross.weight"), fresh["cross.weight"], categories, width
        )
    for name, value in fresh.items():
        if name not in found or found[name].shape != value.shape:
            was = "nothing" if name not in old else f"width {old[name].shape}"
            raise TrainingError(
                f"The previous model has {was} for {name!r}, this one width {value.shape}: training.hidden, "
                f"aligned_hidden, embedding, context or cross_signals were changed since. {WHAT_NEXT}"
            )
    return {name: np.ascontiguousarray(found[name], np.float32) for name in fresh}


def _by_name(before: Sequence[Any], now: Sequence[Any]) -> npt.NDArray[np.int64]:
    """Return where each name of `now` was, -1 where it is new."""
    position = {name: number for number, name in enumerate(before)}
    return np.array([position.get(name, -1) for name in now], np.int64)


def _moved(array: Floats, axis: int, position: npt.NDArray[np.int64]) -> Floats:
    """Return `array` with its entries along `axis` where `position` says they were; 0 at -1."""
    moved = np.take(array, np.maximum(position, 0), axis=axis)
    shape = [1] * array.ndim
    shape[axis] = len(position)
    return np.asarray(moved * (position >= 0).reshape(shape), np.float32)


def _input_weight(before: Encoder, now: Encoder, weight: Floats) -> Floats:
    n = min(before.n_features, now.n_features)
    old, new = before.feature_column[:n], now.feature_column[:n]
    both = (old >= 0) & (new >= 0)
    moved = np.zeros((max(now.n_columns, 1), weight.shape[1]), np.float32)
    scale = now.column_scale[new[both]] / before.column_scale[old[both]]
    moved[new[both]] = weight[old[both]] * scale[:, None]
    return moved


def _aligned(
    before: Encoder, now: Encoder, old: Weights, fresh: Weights, categories: npt.NDArray[np.int64], width: int
) -> Weights:
    """Return the parts of the category-aligned part that read signals or belong to categories."""
    n_signals = len(before.aligned_signals)
    signals = _Restandardised(
        _by_name(before.aligned_signals, now.aligned_signals),
        (before.signal_mean, before.signal_std),
        (now.signal_mean, now.signal_std),
    )
    customer = _Restandardised(
        _by_name(before.customer_signals, now.customer_signals),
        (before.customer_mean, before.customer_std),
        (now.customer_mean, now.customer_std),
    )
    first = "aligned.layers.0" if "aligned.layers.0.weight" in old else "aligned.output"
    weight, bias = old[f"{first}.weight"], old[f"{first}.bias"]
    stop = weight.shape[1] - len(before.customer_signals)
    of_signals, between, of_customer = weight[:, :n_signals], weight[:, n_signals:stop], weight[:, stop:]
    linear = old["aligned.linear"].reshape(-1, width, n_signals + 1)
    own, own_bias = linear[:, :, :-1], linear[:, :, -1] + signals.constant(linear[:, :, :-1])
    moved = np.concatenate((signals.weights(own), own_bias[:, :, None]), axis=2)
    embedding = _moved(old["aligned.embedding"], 0, categories)
    if embedding.shape == fresh["aligned.embedding"].shape:
        embedding[categories < 0] = fresh["aligned.embedding"][categories < 0]
    return {
        f"{first}.weight": np.concatenate(
            (signals.weights(of_signals), between, customer.weights(of_customer)), axis=1
        ),
        f"{first}.bias": bias + signals.constant(of_signals) + customer.constant(of_customer),
        "aligned.linear": _moved(moved.reshape(len(moved), -1), 0, categories),
        "aligned.embedding": embedding,
    }


class _Restandardised:
    """Weights of standardised inputs, for inputs standardised by another mean and deviation.

    (x - m) / s = (x - m') / s' * (s' / s) + (m' - m) / s; a signal that is no longer there is 0 everywhere.
    """

    def __init__(
        self, position: npt.NDArray[np.int64], before: tuple[Floats, Floats], now: tuple[Floats, Floats]
    ) -> None:
        mean, std = (array.astype(np.float64) for array in before)
        self._position = position
        kept = position >= 0
        self._ratio = np.ones(len(position))
        self._ratio[kept] = now[1][kept] / std[position[kept]]
        now_mean = np.zeros(len(mean))
        now_mean[position[kept]] = now[0][kept]
        self._shift = (now_mean - mean) / std

    def weights(self, weight: Floats) -> Floats:
        """Return the weights for the new inputs; the inputs are the last axis."""
        return np.asarray(_moved(weight, weight.ndim - 1, self._position) * self._ratio, np.float32)

    def constant(self, weight: Floats) -> Floats:
        """Return what the bias takes up: the weights' sum over the shifts, without the last axis."""
        return np.asarray(weight @ self._shift, np.float32)


def _cross(
    before: Encoder, now: Encoder, weight: Floats | None, fresh: Floats, categories: npt.NDArray[np.int64], width: int
) -> Floats:
    if weight is None or not before.cross_signals:
        return fresh
    n_before, n_now = len(before.cross_signals), len(now.cross_signals)
    names = [before.aligned_signals[position] for position in before.cross_signals]
    signals = _by_name(names, [now.aligned_signals[position] for position in now.cross_signals])
    shaped = weight.reshape(len(before.categories), n_before, width, len(before.categories))
    moved = _moved(_moved(_moved(shaped, 0, categories), 1, signals), 3, categories)
    return moved.reshape(len(categories) * n_now, -1)
