"""The net of bench_scorer.py by MXNet's Module API, CSR rows.

python peer_mxnet_scorer.py DIRECTORY NAME STORAGE HEAD

STORAGE is the input weight's: `default`, which is dense, or `row_sparse`, as nets for such inputs are trained.
HEAD is `margins`, one folded output a category, or `softmax`: probabilities by two outputs a category and a softmax
over each pair, the net as it was published.
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


def symbol(shape: data.Shape, storage: str, head: str) -> Any:
    """Return the net's margins, or its probabilities of both classes, (rows, outputs, 2)."""
    first, second = shape.hidden
    rows = mx.sym.Variable("data", stype="csr")
    weight = mx.sym.Variable("input_weight", stype=storage, shape=(shape.features, first))
    bias = mx.sym.Variable("input_bias", shape=(1, first))
    flow = mx.sym.Activation(mx.sym.broadcast_add(mx.sym.sparse.dot(rows, weight), bias), act_type="relu")
    flow = mx.sym.Activation(mx.sym.FullyConnected(flow, num_hidden=second, name="hidden"), act_type="relu")
    if head == "margins":
        return mx.sym.FullyConnected(flow, num_hidden=shape.outputs, name="output")
    both = mx.sym.FullyConnected(flow, num_hidden=2 * shape.outputs, name="output")
    return mx.sym.softmax(mx.sym.reshape(both, shape=(-1, shape.outputs, 2)), axis=2)


def parameters(shape: data.Shape, storage: str, head: str) -> dict[str, Any]:
    """Return the weights by name; of two outputs a category, the lower class has the negative half of the margin."""
    weights = scorer_data.weights(shape)
    if head == "softmax":
        for name in ("head.output.weight", "head.output.bias"):
            half = weights[name] / 2
            weights[name] = np.stack([-half, half], axis=1).reshape(2 * shape.outputs, *half.shape[1:])
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
    directory, name, storage, head = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
    set_threads(data.threads())
    rows = data.read(directory)
    shape, given = rows.shape, parameters(rows.shape, storage, head)

    def batch_of(part: slice) -> Any:
        n_rows = part.stop - part.start
        indptr = np.arange(0, n_rows * shape.non_zeros + 1, shape.non_zeros)
        csr = (rows.values[part].ravel(), rows.columns[part].ravel(), indptr)
        return mx.io.DataBatch(data=[mx.nd.sparse.csr_matrix(csr, shape=(n_rows, shape.features))])

    def module_for(size: int) -> Any:
        module = mx.mod.Module(symbol(shape, storage, head), data_names=["data"], label_names=None)
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
        found: scorer_data.Array = module.get_outputs()[0].asnumpy()
        return found if head == "margins" else np.log(found[..., 1] / found[..., 0])

    scorer_data.report(directory, name, rows, prepare, compared)


if __name__ == "__main__":
    main()
