"""The exponential function for compiled loops, as arithmetic that the compiler turns into the processor's vectors."""

from __future__ import annotations

import numpy as np

from propensity.compiled import compiled


@compiled
def exponential(x: np.float32) -> np.float32:
    """Return e^x for -87 <= x <= 88, to a unit in the last place or two; for a lower x that of -87.

    Source: expf of Moshier's Cephes library, http://www.netlib.org/cephes
    """
    x = max(x, np.float32(-87.0))
    n = np.floor(x * np.float32(1.44269504088896341) + np.float32(0.5))
    r = x - n * np.float32(0.693359375)
    r = r + n * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * r * r + r + np.float32(1.0)
    power: np.float32 = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)  # 2^n, by its bits
    found: np.float32 = p * power
    return found
