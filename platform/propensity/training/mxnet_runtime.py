"""The one door to MXNet: every other module says `from propensity.training.mxnet_runtime import mx`.

MXNet 1.9.1 predates numpy 1.24 and Python 3.12. It needs three things before its import: two system libraries
that slim images lack, numpy names that numpy 2 removed, and OpenMP's thread count, which it reads once.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix

from propensity.errors import RuntimeMissingError

if TYPE_CHECKING:
    import numpy.typing as npt

SYSTEM_LIBRARIES: Final = {"libgomp.so.1": "libgomp1", "libquadmath.so.0": "libquadmath0"}
"""Shared libraries that MXNet's own links to, and the Debian packages that hold them."""

_REMOVED_FROM_NUMPY: Final[dict[str, Any]] = {
    "PZERO": 0.0,
    "NZERO": -0.0,
    "NINF": -np.inf,
    "PINF": np.inf,
    "NAN": np.nan,
    "NaN": np.nan,
    "Inf": np.inf,
    "alltrue": np.all,
    "sometrue": np.any,
    "in1d": np.isin,
    "msort": lambda array: np.sort(array, axis=0),
    "trapz": np.trapezoid,
    "product": np.prod,
    "cumproduct": np.cumprod,
    "round_": np.round,
    "row_stack": np.vstack,
}
_threads: int | None = None
"""As `set_threads` set them."""
_REMOVED_FINANCIAL: Final = ("fv", "ipmt", "irr", "mirr", "nper", "npv", "pmt", "ppmt", "pv", "rate")


def check_system_libraries() -> None:
    """Load the system libraries that MXNet links to.

    Raises:
        RuntimeMissingError: One can't be loaded; the message names its Debian package.
    """
    missing = []
    for library, package in SYSTEM_LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            missing.append((library, package))
    if missing:
        libraries = " and ".join(library for library, _ in missing)
        packages = " ".join(package for _, package in missing)
        raise RuntimeMissingError(
            f"MXNet needs {libraries}, which this system lacks. On Debian: apt-get install {packages}"
        )


@contextmanager
def removed_numpy_names() -> Iterator[None]:
    """Give numpy its removed names back for the length of the block.

    MXNet copies them into its own modules while it's imported, so nothing stays behind in numpy, where other
    libraries test for them.
    """
    names = _REMOVED_FROM_NUMPY | dict.fromkeys(_REMOVED_FINANCIAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hasattr on a name numpy only deprecates warns
        added = [name for name in names if not hasattr(np, name)]
    for name in added:
        setattr(np, name, names[name])
    try:
        yield
    finally:
        for name in added:
            delattr(np, name)


def set_threads(threads: int) -> None:
    """Let MXNet's operators use `threads` OpenMP threads from now on.

    Sums are split over threads, so equal seeds give equal nets for an equal thread count only.
    """
    global _threads  # noqa: PLW0603 - MXNet doesn't say how many there are
    _threads = threads
    _set_threads(threads)


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep MXNet's operators in their caller's thread for the length of the block, if `set_threads` was called."""
    if _threads is None:
        yield
        return
    _set_threads(1)
    try:
        yield
    finally:
        _set_threads(_threads)


def _set_threads(threads: int) -> None:
    mx.base.check_call(mx.base._LIB.MXSetNumOMPThreads(ctypes.c_int(threads)))  # noqa: SLF001 - not wrapped


class _DLPack:
    """An MXNet array as numpy takes one over."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0  # kDLCPU

    def __dlpack__(self, **_options: Any) -> Any:
        return self._array.to_dlpack_for_read()


def view(array: Any) -> npt.NDArray[Any]:
    """Return an MXNet array's values, waited for, without a copy; not to be written to."""
    return np.from_dlpack(_DLPack(array))


def _load() -> ModuleType:
    # OpenMP reads both once, when it's loaded. Without the first MXNet trains at half speed; without the second its
    # threads spin while they wait, and a busy neighbour on the same cores slows training five times.
    os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # An operator is done when it returns: a step waits for each of MXNet's results anyway, and its many small operators
    # take longer to hand to the engine's threads than to do.
    os.environ.setdefault("MXNET_ENGINE_TYPE", "NaiveEngine")
    check_system_libraries()
    with removed_numpy_names(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # distutils' version classes, numpy aliases
        mxnet = importlib.import_module("mxnet")
    # `nd.array` asks for `scipy.sparse.csr.csr_matrix`, a path that scipy deprecates, at each call.
    scipy_sparse = SimpleNamespace(
        csr=SimpleNamespace(csr_matrix=csr_matrix), csr_matrix=csr_matrix, coo_matrix=coo_matrix
    )
    for module in (mxnet.ndarray.utils, mxnet.ndarray.sparse):
        module.spsp = scipy_sparse
    with _no_native_stderr():
        _say_lazy_update_once(mxnet)
    return mxnet


def _say_lazy_update_once(mxnet: Any) -> None:
    """Take one lazy Adam step: MXNet's C++ side logs a thread's first one, and has no switch for it."""
    weight = mxnet.nd.zeros((1, 1))
    state = mxnet.nd.zeros((1, 1)), mxnet.nd.zeros((1, 1))
    gradient = mxnet.nd.zeros((1, 1)).tostype("row_sparse")
    mxnet.nd.adam_update(weight, gradient, *state, lr=0.0, lazy_update=True, out=weight)
    mxnet.nd.waitall()


@contextmanager
def _no_native_stderr() -> Iterator[None]:
    """Send what native code writes to file descriptor 2 to nowhere for the length of the block."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


mx: Any = _load()
