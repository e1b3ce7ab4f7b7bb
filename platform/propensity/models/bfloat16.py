"""Weights in 16 bits: bfloat16, the upper half of a float32, rounded to nearest, ties to even.

It keeps float32's range and 8 bits of its significand, so a weight is off by 2^-8 of itself at most, and made float32
again by a shift, without tables. The arrays are uint16, since numpy has no such type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import numba.extending
import numpy as np

from propensity.compiled import compiled

if TYPE_CHECKING:
    import numpy.typing as npt

WeightFormat = Literal["float32", "bfloat16"]
"""What the weights of sparse layers are held in."""

_HALF: Final = np.uint32(16)
"""Bits that bfloat16 leaves out."""


def rounded(weight: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Return a weight, (n_in, n_out), as bfloat16's bits. What is no number stays none."""
    out = np.empty(weight.shape, np.uint16)
    _round(weight.view(np.uint32), out)
    return out


@compiled
def _round(bits: npt.NDArray[np.uint32], out: npt.NDArray[np.uint16]) -> None:
    for i in range(bits.shape[0]):
        for j in range(bits.shape[1]):
            own = bits[i, j]
            if own & np.uint32(0x7FFFFFFF) > np.uint32(0x7F800000):
                out[i, j] = np.uint16(0x7FC0)  # no number, whose bits the sum below could make one
            else:
                # Half of the last bit that stays, or a little less where that bit is even: a tie goes there.
                odd = (own >> _HALF) & np.uint32(1)
                out[i, j] = np.uint16((own + np.uint32(0x7FFF) + odd) >> _HALF)


def widened(weight: Any) -> Any:
    """In compiled loops: a float32 weight as it is, bfloat16's bits as the float32 that they are the upper half of."""
    return weight if weight.dtype == np.float32 else (weight.astype(np.uint32) << _HALF).view(np.float32)


@numba.extending.overload(widened, strict=False)  # which would compare annotations, too
def _widened(weight: Any) -> Any:
    if weight == numba.float32:
        return lambda weight: weight
    if weight == numba.uint16:
        return lambda weight: np.uint32(np.uint32(weight) << _HALF).view(np.float32)
    return None
