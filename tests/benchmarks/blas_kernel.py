"""Which of BLAS's kernels numpy runs here: a benchmark's figures depend on it."""

from __future__ import annotations

import numpy as np  # noqa: F401 - what loads the library
from threadpoolctl import threadpool_info


def blas_kernel() -> str:
    """Return the library and the processor that its kernel is made for, e.g. `openblas SkylakeX`.

    `OPENBLAS_CORETYPE` overrules OpenBLAS's own choice; one for AVX2 takes twice as long on a processor with AVX-512.
    """
    return ", ".join(
        f"{found['internal_api']} {found.get('architecture', '')}".strip()
        for found in threadpool_info()
        if found["user_api"] == "blas"
    )
