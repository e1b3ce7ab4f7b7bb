"""Dropout with masks drawn by a compiled counter-based generator.

Drawing MXNet's masks takes a quarter of a step where every seen pair has hidden units of its own, several times as long
as hashing a counter. And an epoch's masks follow from its seed alone, also after a kill.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from propensity.training.mxnet_runtime import mx
from propensity.training.sparse_kernels import compiled

if TYPE_CHECKING:
    import numpy.typing as npt


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

    def __call__(self, flow: Any) -> Any:
        """Return `flow`, an MXNet array of any shape, with some values dropped if MXNet is in training mode."""
        if not self._dropped or not mx.autograd.is_training():
            return flow
        mask = np.empty(flow.shape, np.float32)
        seed = self._random.integers(1 << 64, dtype=np.uint64)
        _fill(mask.reshape(-1), seed, np.uint64(self._dropped), np.float32(1.0 / (1.0 - self.rate)))
        return flow * mx.nd.from_numpy(mask)


@compiled
def _fill(mask: npt.NDArray[np.float32], seed: np.uint64, dropped: np.uint64, kept: np.float32) -> None:
    """Write 0 with a probability of `dropped` / 65536, else `kept`: four values from each number of SplitMix64.

    Source: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators".
    """
    n = mask.shape[0]
    low = np.uint64(0xFFFF)
    for block in range((n + 3) // 4):
        z = seed + np.uint64(block + 1) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
        start = block * 4
        if start + 4 <= n:
            mask[start] = kept * np.float32((z & low) >= dropped)
            mask[start + 1] = kept * np.float32(((z >> np.uint64(16)) & low) >= dropped)
            mask[start + 2] = kept * np.float32(((z >> np.uint64(32)) & low) >= dropped)
            mask[start + 3] = kept * np.float32((z >> np.uint64(48)) >= dropped)
        else:
            for i in range(start, n):
                mask[i] = kept * np.float32((z & low) >= dropped)
                z = z >> np.uint64(16)
