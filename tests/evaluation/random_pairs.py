"""Small random evaluations with many ties."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

LEVELS = np.array([0.0, 1e-6, 0.1, 0.25, 0.5, 0.75, 0.999999, 1.0], dtype=np.float32)


@st.composite
def random_pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Labels, float32 probabilities of which many tie, a mask or None; at most 12 x 8."""
    shape = (draw(st.integers(1, 12)), draw(st.integers(1, 8)))
    labels = draw(arrays(np.bool_, shape))
    if draw(st.booleans()):
        probabilities = LEVELS[draw(arrays(np.int64, shape, elements=st.integers(0, len(LEVELS) - 1)))]
    else:
        probabilities = draw(arrays(np.float32, shape, elements=st.floats(0, 1, width=32)))
    mask = draw(st.none() | arrays(np.bool_, shape))
    return labels, probabilities, mask


def counted(labels, probabilities, mask):
    """The flat pairs that count, one by one."""
    keep = np.ones(labels.shape, dtype=bool) if mask is None else mask
    pairs = [
        (bool(labels[i, j]), float(probabilities[i, j]))
        for i in range(labels.shape[0])
        for j in range(labels.shape[1])
        if keep[i, j]
    ]
    return np.array([y for y, _ in pairs], dtype=bool), np.array([p for _, p in pairs], dtype=np.float64)
