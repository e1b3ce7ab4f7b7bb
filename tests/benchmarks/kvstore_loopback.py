"""What a worker and a server of MXNet's own kvstore exchange a second on this machine, for bench_scaling_plan.py.

python kvstore_loopback.py COLUMNS WIDTH TOUCHED

Starts a scheduler, a server and a worker, which talk over the loopback interface as they would over a network, with
`dist_sync` and lazy Adam on the server. Prints JSON: `features`, what this build of MXNet has; and, where it has a
distributed kvstore, bytes a second of `pull` (row_sparse_pull of the touched rows of a weight), `push` (of a row-sparse
gradient, until the server has taken the optimizer's step and answers a pull) and both, `exchange`. Sizes count values
and row numbers.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from propensity.training.mxnet_runtime import mx

REPEATED = 8
PATIENCE = 120
"""Seconds for the worker: where a server fails MXNet's others wait for it without end."""
ASKED = ("CUDA", "NCCL", "DIST_KVSTORE", "MKLDNN", "OPENMP", "INT64_TENSOR_SIZE")
ROLE = "DMLC_ROLE"


def work(columns: int, width: int, touched: int) -> dict[str, float]:
    """Exchange rows with the server; return bytes a second."""
    store = mx.kv.create("dist_sync")
    rows = np.sort(np.random.default_rng(0).choice(columns, touched, replace=False))
    gradient = mx.nd.sparse.row_sparse_array((np.ones((touched, width), np.float32), rows), shape=(columns, width))
    numbers, pulled = mx.nd.array(rows, dtype="int64"), mx.nd.sparse.zeros("row_sparse", (columns, width))
    # Ones: it refuses a row-sparse weight without rows.
    store.init("weight", mx.nd.ones((columns, width)).tostype("row_sparse"))
    store.set_optimizer(mx.optimizer.Adam(learning_rate=1e-3, lazy_update=True))

    def pull() -> None:
        store.row_sparse_pull("weight", out=pulled, row_ids=numbers)
        pulled.wait_to_read()

    def push_and_pull() -> None:
        store.push("weight", gradient)
        pull()

    size = touched * (4 * width + 8)
    pull_seconds, both_seconds = _median(pull), _median(push_and_pull)
    return {
        "pull": size / pull_seconds,
        "push": size / max(both_seconds - pull_seconds, 1e-9),
        "exchange": 2 * size / both_seconds,
    }


def _median(exchange: Callable[[], None]) -> float:
    exchange()
    mx.nd.waitall()
    seconds = []
    for _ in range(REPEATED):
        started = time.perf_counter()
        exchange()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))


def start_all(arguments: list[str]) -> dict[str, float]:
    """Start the three processes, each a copy of this one in another role; return what the worker prints."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "DMLC_PS_ROOT_URI": "127.0.0.1",
        "DMLC_PS_ROOT_PORT": str(port),
        "DMLC_NODE_HOST": "127.0.0.1",
        "DMLC_INTERFACE": "lo",
        "DMLC_NUM_SERVER": "1",
        "DMLC_NUM_WORKER": "1",
        # One core each.
        "OMP_NUM_THREADS": "1",
    }
    started = [
        subprocess.Popen(
            [sys.executable, __file__, *arguments],
            env=environment | {ROLE: role},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for role in ("scheduler", "server", "worker")
    ]
    try:
        printed, _ = started[-1].communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"MXNet's kvstore gave no answer in {PATIENCE} s") from error
    finally:
        for process in started:
            process.send_signal(signal.SIGKILL)
            process.communicate()
    if started[-1].returncode != 0:
        raise RuntimeError(f"The kvstore's worker ended with {started[-1].returncode}")
    found: dict[str, float] = json.loads(printed.splitlines()[-1])
    return found


def main() -> None:
    """Print this build's features and its kvstore's rates."""
    # Servers and the scheduler never come here: MXNet's import is their work, and ends them.
    if os.environ.get(ROLE) == "worker":
        print(json.dumps(work(*(int(argument) for argument in sys.argv[1:]))))
        return
    features = {name: bool(mx.runtime.Features().is_enabled(name)) for name in ASKED}
    rates = start_all(sys.argv[1:]) if features["DIST_KVSTORE"] else {}
    print(json.dumps({"features": features, **rates}))


if __name__ == "__main__":
    main()
