"""Rectifier and dropout of a hidden layer in one pass over its values, and the pass back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from propensity.training.sparse_kernels import compiled

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.training.dropout import Masks

    Floats = npt.NDArray[np.float32]


def activate(flow: Floats, masks: Masks | None, first: int = 0) -> None:
    """Take the rectifier of rows of a layer, and drop some of it, in place.

    Args:
        flow: float32, (n, width).
        masks: Dropout's; None leaves it out.
        first: Which row of the layer is the first here.
    """
    if masks is None:
        np.maximum(flow, 0.0, out=flow)
    else:
        _relu_and_drop(flow, masks.bits(flow.shape, first), masks.dropped, masks.scale)


def take_back(gradient: Floats, output: Floats, masks: Masks | None) -> None:
    """Turn the gradient by what `activate` made into that by what it was given, in place.

    Args:
        gradient: float32, (n, width).
        output: What `activate` made: what came out as 0 takes none.
        masks: As for `activate`.
    """
    _where_positive(gradient, output, np.float32(1.0) if masks is None else masks.scale)


@compiled
def _relu_and_drop(flow: Floats, bits: npt.NDArray[np.uint16], dropped: np.uint16, scale: np.float32) -> None:
    for row in range(flow.shape[0]):
        own, random = flow[row], bits[row]
        for j in range(own.shape[0]):
            own[j] = max(own[j], np.float32(0.0)) * scale if random[j] >= dropped else np.float32(0.0)


@compiled
def _where_positive(gradient: Floats, output: Floats, scale: np.float32) -> None:
    for row in range(gradient.shape[0]):
        own, out = gradient[row], output[row]
        for j in range(own.shape[0]):
            own[j] = own[j] * scale if out[j] > np.float32(0.0) else np.float32(0.0)
