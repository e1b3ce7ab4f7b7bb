"""What this machine's BLAS allows to ask of a row whose neighbours have changed."""

from __future__ import annotations

from functools import cache

import numpy as np

from propensity.models.forward import ROW_BLOCK


@cache
def treats_rows_alike() -> bool:
    """Return whether equal rows of a block have equal products, wherever they lie in it.

    OpenBLAS's kernels for AVX-512 and for plain AVX do so; its kernel for AVX2 (Haswell, Zen) adds in another order in
    a part of a block.
    """
    rng = np.random.default_rng(0)
    for inner, outer in ((24, 32), (128, 2_000)):
        row, weight = rng.standard_normal((1, inner), np.float32), rng.standard_normal((inner, outer), np.float32)
        product = np.tile(row, (ROW_BLOCK, 1)) @ weight
        if (product != product[0]).any():
            return False
    return True


def assert_same_rows(found: np.ndarray, expected: np.ndarray) -> None:
    """Compare rows that lay elsewhere in their blocks: to the last bit where BLAS allows it."""
    if treats_rows_alike():
        assert found.tobytes() == expected.tobytes()
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)
