from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import propensity
from propensity.errors import RuntimeMissingError
from propensity.training import mxnet_runtime
from propensity.training.mxnet_runtime import mx


def test_mxnet_works_beside_numpy_2_and_leaves_it_as_it_was():
    assert mx.__version__ == "1.9.1"
    assert int(np.__version__.split(".")[0]) >= 2
    assert mx.nd.array([[1.0, 2.0]]).sum().asscalar() == 3.0
    assert not hasattr(np, "NaN")
    assert not hasattr(np, "msort")


def test_removed_names_are_back_for_the_block_only():
    with mxnet_runtime.removed_numpy_names():
        assert np.inf == np.inf
        assert np.prod([2, 3]) == 6
        assert np.msort(np.array([2, 1])).tolist() == [1, 2]
        assert hasattr(np, "npv")
    assert not hasattr(np, "PINF")
    assert not hasattr(np, "npv")


def test_a_missing_system_library_is_named_with_its_package(monkeypatch):
    def absent(name: str) -> None:
        if name == "libquadmath.so.0":
            raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    with pytest.raises(RuntimeMissingError, match=r"libquadmath\.so\.0.*apt-get install libquadmath0$"):
        mxnet_runtime.check_system_libraries()


def test_threads_can_be_set():
    mxnet_runtime.set_threads(1)
    mxnet_runtime.set_threads(2)
    assert mx.nd.dot(mx.nd.ones((64, 64)), mx.nd.ones((64, 64))).sum().asscalar() == 64**3


@pytest.mark.parametrize(("before", "calls"), [(None, []), (2, [1, 2])])
def test_one_thread_is_for_the_block_only(monkeypatch, before, calls):
    seen = []
    monkeypatch.setattr(mxnet_runtime, "_set_threads", seen.append)
    monkeypatch.setattr(mxnet_runtime, "_threads", before)
    with mxnet_runtime.one_thread():
        assert seen == calls[:1]
    assert seen == calls


def test_import_and_lazy_adam_say_nothing():
    code = """if True:
        from propensity.training.mxnet_runtime import mx
        weight, mean, var = (mx.nd.zeros((3, 2)) for _ in range(3))
        gradient = mx.nd.ones((3, 2)).tostype("row_sparse")
        mx.nd.adam_update(weight, gradient, mean, var, lr=0.1, lazy_update=True, out=weight)
        assert weight.asnumpy().all()
    """
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_nothing_else_imports_mxnet():
    package = Path(propensity.__file__).parent if propensity.__file__ else Path(next(iter(propensity.__path__)))
    sources = list(package.rglob("*.py"))
    assert len(sources) > 10
    importers = [
        path.name
        for path in sources
        for line in path.read_text().splitlines()
        if line.strip().startswith(("import mxnet", "from mxnet"))
    ]
    assert importers == []
