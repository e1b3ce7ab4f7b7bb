"""Dropout with masks drawn by a compiled counter-based generator.

MXNet's generator takes many times as long as hashing a counter, and every seen pair has hidden units of its own. And an
epoch's masks follow from its seed alone, also after a kill.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from propensity.compiled import compiled
from propensity.training.mxnet_runtime import mx

if TYPE_CHECKING:
    import numpy.typing as npt


STEP: Final = np.uint64(0x9E3779B97F4A7C15)


class Masks(NamedTuple):
    """What the masks of a layer in a step follow from.

    Attributes:
        seed: uint64.
        dropped: Probability of a 0, in 1 / 65536, uint16.
        scale: What the other values are multiplied by, float32.
    """

    seed: np.uint64
    dropped: np.uint16
    scale: np.float32

    def bits(self, shape: tuple[int, int], first: int = 0) -> npt.NDArray[np.uint16]:
        """Return uniform numbers of 16 bits; a value whose number is below `dropped` is dropped.

        Args:
            shape: (n, width).
            first: Row of the layer that is the first here: its numbers don't depend on which rows come along.
        """
        found: npt.NDArray[np.uint16] = random_bits(shape[0], shape[1], self.seed, first)[:, : shape[1]]
        return found


class Dropout:
    """Sets each of its input's values to zero with a probability of `rate` in training, and scales up the others.

    Attributes:
        rate: Probability, a multiple of 1 / 65536 near the one asked for.
    """

    def __init__(self, rate: float) -> None:
        self._dropped = round(rate * 65536)
        self.rate = self._dropped / 65536
        self._random = np.random.default_rng(0)

    def reseed(self, seed: np.random.SeedSequence) -> None:
        """Start the masks anew."""
        self._random = np.random.default_rng(seed)

    def draw(self) -> Masks | None:
        """Draw new masks; None if MXNet isn't in training mode or nothing is dropped."""
        if not self._dropped or not mx.autograd.is_training():
            return None
        seed = self._random.integers(1 << 64, dtype=np.uint64)
        return Masks(seed, np.uint16(self._dropped), np.float32(1.0 / (1.0 - self.rate)))

    def __call__(self, flow: Any) -> Any:
        """Return `flow`, an MXNet array (n, width), with some values dropped if MXNet is in training mode."""
        masks = self.draw()
        if masks is None:
            return flow
        kept = masks.bits(flow.shape) >= masks.dropped
        return flow * mx.nd.from_numpy(kept * masks.scale)


@compiled
def random_bits(n_rows: int, width: int, seed: np.uint64, first: int) -> npt.NDArray[np.uint16]:
    """Return what `Masks.bits` does, for a width rounded up to a multiple of 4; rows start at multiples of it.

    The numbers of SplitMix64 from a seed on, but for those of rows before `first`. Source: Steele, Lea and Flood 2014,
    "Fast splittable pseudorandom number generators".
    """
    per_row = (width + 3) // 4
    numbers = np.empty(n_rows * per_row, np.uint64)
    before = np.uint64(first) * np.uint64(per_row)
    for i in range(numbers.shape[0]):
        z = seed + (before + np.uint64(i + 1)) * STEP
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        numbers[i] = z ^ (z >> np.uint64(31))
    found: npt.NDArray[np.uint16] = numbers.view(np.uint16).reshape((n_rows, 4 * per_row))
    return found
