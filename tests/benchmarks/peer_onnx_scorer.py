"""The net of bench_scorer.py in ONNX Runtime: python peer_onnx_scorer.py DIRECTORY NAME SUM

ONNX has no sparse product, so the graph takes CSR rows as three plain tensors, `indices`, `offsets` and `values`, with
standard operators only. A row's weights are gathered, and summed up in the faster of two ways: by a product with a
matrix that has a row's values at its entries and 0 elsewhere, or by adding each to its row (ScatterND).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import scorer_data
import training_step_data as data
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
SIZES = {"product": (32, 128), "scatter": (32, 128, 512, 1024)}
"""Rows of a call to try; the product's matrix grows with their square."""
SUMS = {
    "product": [
        # Entry k is of row b where offsets[b] <= k < offsets[b + 1].
        ("GreaterOrEqual", ["number", "starts"], "begun", {}),
        ("Less", ["number", "ends"], "not_over", {}),
        ("And", ["begun", "not_over"], "own", {}),
        ("Where", ["own", "values", "nothing"], "spread", {}),
        ("MatMul", ["spread", "gathered"], "bags", {}),
    ],
    "scatter": [
        # The row of an entry: how many rows have ended by it.
        ("GreaterOrEqual", ["number", "ends"], "over", {}),
        ("Cast", ["over"], "ended", {"to": TensorProto.INT64}),
        ("ReduceSum", ["ended", "rows_axis"], "row", {"keepdims": 0}),
        ("Unsqueeze", ["row", "last"], "place", {}),
        ("Unsqueeze", ["values", "last"], "column", {}),
        ("Mul", ["gathered", "column"], "parts", {}),
        ("Shape", ["starts_flat"], "n_rows", {}),
        ("Concat", ["n_rows", "width"], "shape", {"axis": 0}),
        ("ConstantOfShape", ["shape"], "empty", {}),
        ("ScatterND", ["empty", "place", "parts"], "bags", {"reduction": "add"}),
    ],
}


def graph(shape: data.Shape, way: str) -> bytes:
    """Return the net's graph, without its input weight: that is handed over beside it, it may be large."""
    weights = scorer_data.weights(shape)
    nodes = [
        ("Gather", ["input_weight", "indices"], "gathered", {}),
        ("Shape", ["indices"], "count", {}),
        ("Squeeze", ["count"], "count_scalar", {}),
        ("Range", ["zero", "count_scalar", "one"], "number", {}),
        ("Slice", ["offsets", "first", "last"], "starts_flat", {}),
        ("Slice", ["offsets", "second", "end"], "ends_flat", {}),
        ("Unsqueeze", ["starts_flat", "last"], "starts", {}),
        ("Unsqueeze", ["ends_flat", "last"], "ends", {}),
        *SUMS[way],
        ("Add", ["bags", "input_bias"], "biased", {}),
        ("Relu", ["biased"], "first_layer", {}),
        ("Gemm", ["first_layer", "hidden_weight", "hidden_bias"], "hidden", {"transB": 1}),
        ("Relu", ["hidden"], "second_layer", {}),
        ("Gemm", ["second_layer", "output_weight", "output_bias"], "margins", {"transB": 1}),
    ]
    constants = {
        "zero": np.int64(0), "one": np.int64(1), "nothing": np.float32(0), "first": np.array([0]),
        "second": np.array([1]), "last": np.array([-1]), "end": np.array([np.iinfo(np.int64).max]),
        "input_bias": weights["deep.input_bias"],
        "hidden_weight": weights["deep.layers.0.weight"], "hidden_bias": weights["deep.layers.0.bias"],
        "output_weight": weights["head.output.weight"], "output_bias": weights["head.output.bias"],
    }  # fmt: skip
    if way == "scatter":
        constants |= {"rows_axis": np.array([0]), "width": np.array([shape.hidden[0]])}
    inputs = [
        helper.make_tensor_value_info("indices", TensorProto.INT64, ["entries"]),
        helper.make_tensor_value_info("offsets", TensorProto.INT64, ["rows_and_one"]),
        helper.make_tensor_value_info("values", TensorProto.FLOAT, ["entries"]),
        helper.make_tensor_value_info("input_weight", TensorProto.FLOAT, [shape.features, shape.hidden[0]]),
    ]
    made = helper.make_graph(
        [helper.make_node(kind, given, [out], **options) for kind, given, out, options in nodes],
        "net",
        inputs,
        [helper.make_tensor_value_info("margins", TensorProto.FLOAT, ["rows", shape.outputs])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    return bytes(model.SerializeToString())


def main() -> None:
    directory, name, way = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    rows = data.read(directory)
    shape = rows.shape
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = data.threads()
    session = onnxruntime.InferenceSession(graph(shape, way), options, providers=["CPUExecutionProvider"])
    weight = onnxruntime.OrtValue.ortvalue_from_numpy(scorer_data.weights(shape)["deep.input_weight"])

    def inputs(part: slice) -> dict[str, Any]:
        n_rows = part.stop - part.start
        arrays = {
            "indices": rows.columns[part].ravel().astype(np.int64),
            "offsets": np.arange(0, n_rows * shape.non_zeros + 1, shape.non_zeros),
            "values": rows.values[part].flatten(),
        }
        return {each: onnxruntime.OrtValue.ortvalue_from_numpy(array) for each, array in arrays.items()} | {
            "input_weight": weight
        }

    def prepare(size: int) -> Callable[[], None]:
        pool = [inputs(part) for part in scorer_data.batches(rows, size)]

        def run() -> None:
            for each in pool:
                session.run_with_ort_values(["margins"], each)

        return run

    def compared() -> scorer_data.Array:
        parts = [slice(start, start + 128) for start in range(0, scorer_data.COMPARED, 128)]
        found = [session.run_with_ort_values(["margins"], inputs(part))[0].numpy() for part in parts]
        return np.concatenate(found)

    scorer_data.report(directory, name, rows, prepare, compared, SIZES[way])


if __name__ == "__main__":
    main()
