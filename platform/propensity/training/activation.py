"""Bias, rectifier and dropout of a hidden layer in one pass over its values, and the pass back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from propensity.compiled import compiled
from propensity.training.dropout import Masks, random_bits

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

ALL: Final = Masks(np.uint64(0), np.uint16(0), np.float32(1.0))
"""Masks that leave nothing out."""


def activate(flow: Floats, bias: Floats, masks: Masks, first: int = 0) -> None:
    """Add a bias, take the rectifier of rows of a layer, and drop some of it, in place.

    Args:
        flow: float32, (n, width).
        bias: float32, (width,).
        masks: Dropout's.
        first: Which row of the layer is the first here.
    """
    _activate(flow, bias, *masks, first)


def take_back(gradient: Floats, output: Floats, masks: Masks, of_bias: Floats) -> None:
    """Turn the gradient by what `activate` made into that by what it was given, in place.

    Args:
        gradient: float32, (n, width).
        output: What `activate` made: what came out as 0 takes none.
        masks: As for `activate`.
        of_bias: float32, (width,); the bias's gradient is added to it.
    """
    _take_back(gradient, output, masks.scale, of_bias)


@compiled
def bits_to_drop_by(n_rows: int, width: int, seed: np.uint64, dropped: np.uint16, first: int) -> npt.NDArray[np.uint16]:
    """Return what is compared with `dropped`: random numbers, or where nothing is dropped zeros, which cost less."""
    if dropped == 0:
        return np.zeros((n_rows, width), np.uint16)
    found: npt.NDArray[np.uint16] = random_bits(n_rows, width, seed, first)
    return found


@compiled
def _activate(flow: Floats, bias: Floats, seed: np.uint64, dropped: np.uint16, scale: np.float32, first: int) -> None:
    bits = bits_to_drop_by(flow.shape[0], flow.shape[1], seed, dropped, first)
    for row in range(flow.shape[0]):
        for j in range(flow.shape[1]):
            value = max(flow[row, j] + bias[j], np.float32(0.0)) * scale
            flow[row, j] = value if bits[row, j] >= dropped else np.float32(0.0)


@compiled
def _take_back(gradient: Floats, output: Floats, scale: np.float32, of_bias: Floats) -> None:
    for row in range(gradient.shape[0]):
        for j in range(gradient.shape[1]):
            value = gradient[row, j] * scale if output[row, j] > np.float32(0.0) else np.float32(0.0)
            gradient[row, j] = value
            of_bias[j] += value
