"""The net of bench_training_step.py written plainly with MXNet's Module API: row-sparse input weight, lazy updates.

One logistic output a category, which costs half of two softmax outputs: python peer_mxnet_step.py DIRECTORY OPTIMIZER
STEPS
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import training_step_data as data

os.environ["MXNET_ENGINE_TYPE"] = "ThreadedEnginePerDevice"  # MXNet's default, not ours

from propensity.training.mxnet_runtime import mx, set_threads

OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "adam": ("adam", {"lazy_update": True}),
    "adagrad": ("adagrad", {}),
    "sgd": ("sgd", {"lazy_update": True}),
}


def symbol(shape: data.Shape) -> Any:
    """Return the net with its loss. The gradient is that of the log loss, summed over a row's categories."""
    first, second = shape.hidden
    rows = mx.sym.Variable("data", stype="csr")
    weight = mx.sym.Variable("input_weight", stype="row_sparse", shape=(shape.features, first))
    bias = mx.sym.Variable("input_bias", shape=(1, first))
    flow = mx.sym.Activation(mx.sym.broadcast_add(mx.sym.sparse.dot(rows, weight), bias), act_type="relu")
    flow = mx.sym.FullyConnected(flow, num_hidden=second, name="hidden")
    flow = mx.sym.Activation(flow, act_type="relu")
    flow = mx.sym.FullyConnected(flow, num_hidden=shape.outputs, name="output")
    # MXNet divides this gradient by the number of outputs.
    return mx.sym.LogisticRegressionOutput(flow, mx.sym.Variable("label"), grad_scale=shape.outputs)


def parameters(shape: data.Shape) -> dict[str, Any]:
    """Return the first weights by name."""
    first, second = shape.hidden
    weights = data.first_weights(shape)
    named = {
        "input_weight": weights[0],
        "input_bias": np.zeros((1, first), np.float32),
        "hidden_weight": weights[1].T,
        "hidden_bias": np.zeros(second, np.float32),
        "output_weight": weights[2].T,
        "output_bias": np.zeros(shape.outputs, np.float32),
    }
    arrays = {name: mx.nd.array(values) for name, values in named.items()}
    return arrays | {"input_weight": arrays["input_weight"].tostype("row_sparse")}


def log_loss(output: Any, labels: Any) -> float:
    """Return the mean log loss per pair of probabilities that the net gave out."""
    positive = output.asnumpy()
    given = np.where(labels.asnumpy() > 0, positive, 1 - positive)
    return float(-np.log(np.maximum(given, 1e-12)).mean(dtype=np.float64))


def main() -> None:
    directory, optimizer, steps = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    set_threads(data.threads())
    rows = data.read(directory)
    shape = rows.shape
    indptr = np.arange(0, shape.batch * shape.non_zeros + 1, shape.non_zeros)
    pool = [
        mx.io.DataBatch(
            data=[
                mx.nd.sparse.csr_matrix(
                    (rows.values[batch].ravel(), rows.columns[batch].ravel(), indptr),
                    shape=(shape.batch, shape.features),
                )
            ],
            label=[mx.nd.array(rows.dense_labels(batch))],
        )
        for batch in rows.batches(min(data.POOL, shape.steps))
    ]
    module = mx.mod.Module(symbol(shape), data_names=["data"], label_names=["label"])
    module.bind(
        data_shapes=[("data", (shape.batch, shape.features))], label_shapes=[("label", (shape.batch, shape.outputs))]
    )
    module.init_params(arg_params=parameters(shape))
    name, options = OPTIMIZERS[optimizer]
    options = options | {"learning_rate": data.LEARNING_RATES[optimizer], "rescale_grad": 1.0 / shape.batch}
    module.init_optimizer(kvstore=None, optimizer=name, optimizer_params=options)

    last = pool[0]

    def step(number: int) -> None:
        nonlocal last
        last = pool[number % len(pool)]
        module.forward_backward(last)
        module.update()

    data.report(step, lambda: log_loss(module.get_outputs()[0], last.label[0]), mx.nd.waitall, steps)


if __name__ == "__main__":
    main()
