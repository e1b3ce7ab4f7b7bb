"""The net of bench_scorer.py by MXNet's Module API, CSR rows, one output a category.

python peer_mxnet_scorer.py DIRECTORY NAME STORAGE

STORAGE is the input weight's: `default`, which is dense, or `row_sparse`, as nets for such inputs are trained.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scorer_data
import training_step_data as data

os.environ["MXNET_ENGINE_TYPE"] = "ThreadedEnginePerDevice"  # MXNet's default, not ours

from propensity.training.mxnet_runtime import mx, set_threads


def symbol(shape: data.Shape, storage: str) -> Any:
    """Return the net's margins."""
    first, second = shape.hidden
    rows = mx.sym.Variable("data", stype="csr")
    weight = mx.sym.Variable("input_weight", stype=storage, shape=(shape.features, first))
    bias = mx.sym.Variable("input_bias", shape=(1, first))
    flow = mx.sym.Activation(mx.sym.broadcast_add(mx.sym.sparse.dot(rows, weight), bias), act_type="relu")
    flow = mx.sym.Activation(mx.sym.FullyConnected(flow, num_hidden=second, name="hidden"), act_type="relu")
    return mx.sym.FullyConnected(flow, num_hidden=shape.outputs, name="output")


def parameters(shape: data.Shape, storage: str) -> dict[str, Any]:
    """Return the weights by name."""
    weights = scorer_data.weights(shape)
    named = {
        "input_weight": weights["deep.input_weight"],
        "input_bias": weights["deep.input_bias"][None],
        "hidden_weight": weights["deep.layers.0.weight"],
        "hidden_bias": weights["deep.layers.0.bias"],
        "output_weight": weights["head.output.weight"],
        "output_bias": weights["head.output.bias"],
    }
    arrays = {name: mx.nd.array(values) for name, values in named.items()}
    return arrays | {"input_weight": arrays["input_weight"].tostype(storage)}


def main() -> None:
    directory, name, storage = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    set_threads(data.threads())
    rows = data.read(directory)
    shape, given = rows.shape, parameters(rows.shape, storage)

    def batch_of(part: slice) -> Any:
        n_rows = part.stop - part.start
        indptr = np.arange(0, n_rows * shape.non_zeros + 1, shape.non_zeros)
        csr = (rows.values[part].ravel(), rows.columns[part].ravel(), indptr)
        return mx.io.DataBatch(data=[mx.nd.sparse.csr_matrix(csr, shape=(n_rows, shape.features))])

    def module_for(size: int) -> Any:
        module = mx.mod.Module(symbol(shape, storage), data_names=["data"], label_names=None)
        module.bind(data_shapes=[("data", (size, shape.features))], for_training=False)
        module.set_params(given, {})
        return module

    def prepare(size: int) -> Callable[[], None]:
        module, pool = module_for(size), [batch_of(part) for part in scorer_data.batches(rows, size)]

        def run() -> None:
            for each in pool:
                module.forward(each, is_train=False)
            mx.nd.waitall()

        return run

    def compared() -> scorer_data.Array:
        module = module_for(scorer_data.COMPARED)
        module.forward(batch_of(slice(0, scorer_data.COMPARED)), is_train=False)
        margins: scorer_data.Array = module.get_outputs()[0].asnumpy()
        return margins

    scorer_data.report(directory, name, rows, prepare, compared)


if __name__ == "__main__":
    main()
