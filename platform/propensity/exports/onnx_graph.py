"""Building an ONNX graph node by node, and writing it, beyond protobuf's 2 GB too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from propensity.exports.onnx_package import onnx

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from propensity.exports.signature import Tensor

OPSET: Final = 18
IR_VERSION: Final = 8
"""The oldest that holds opset 18, so that older runtimes read it too."""
EXTERNAL_BEYOND: Final = (2**31 - 1) * 9 // 10
"""Bytes of weights from which on they go into a file of their own: protobuf ends at 2 GB."""
EXTERNAL_FROM: Final = 1024
"""Bytes of the smallest weight that goes there; shape inference reads small ones."""
ALIGNMENT: Final = 4096
"""Of a weight in that file, so that a runtime can map it."""


class Graph:
    """Nodes in the order they were added, and the weights they read.

    A value is named by a string; every method that adds something returns the name of what it makes.
    """

    def __init__(self) -> None:
        self._onnx = onnx()
        self._nodes: list[Any] = []
        self._weights: dict[str, npt.NDArray[Any]] = {}
        self._names = 0

    def weight(self, name: str, array: npt.NDArray[Any]) -> str:
        """Add an array under a name of its own."""
        assert name not in self._weights, name
        self._weights[name] = array
        return name

    def constant(self, value: int | float | Sequence[int]) -> str:
        """Return a small array: of int64 for ints, (1,) for one, of float32 () for a float."""
        if isinstance(value, float):
            array: npt.NDArray[Any] = np.array(value, np.float32)
        else:
            array = np.atleast_1d(np.array(value, np.int64))
        name = f"{array.dtype}_{'_'.join(map(str, array.ravel().tolist()))}"
        self._weights.setdefault(name, array)
        return name

    def scalar(self, value: int) -> str:
        """Return an int64 of shape (), as operators want an axis."""
        name = f"scalar_{value}"
        self._weights.setdefault(name, np.array(value, np.int64))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output."""
        (output,) = self.add_many(operator, 1, *inputs, **attributes)
        return output

    def add_many(self, operator: str, n_outputs: int, *inputs: str, **attributes: Any) -> tuple[str, ...]:
        """Add a node with several outputs."""
        outputs = tuple(self._fresh(operator) for _ in range(n_outputs))
        self._nodes.append(self._onnx.helper.make_node(operator, list(inputs), list(outputs), **attributes))
        return outputs

    def filled(self, shape: str, value: float, dtype: type[np.generic]) -> str:
        """Add an array of one value; `shape` names an int64 vector."""
        tensor = self._onnx.numpy_helper.from_array(np.array([value], dtype))
        return self.add("ConstantOfShape", shape, value=tensor)

    def cast(self, value: str, dtype: type[np.generic]) -> str:
        """Add a change of type."""
        return self.add("Cast", value, to=self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def for_each(self, scanned: tuple[str, str], body: Callable[[str, str], str], width: int) -> str:
        """Add a node that runs `body` over the elements of two int64 vectors; stack its float32 results, (width,)."""
        helper, kinds = self._onnx.helper, self._onnx.TensorProto
        outside, self._nodes = self._nodes, []
        inputs = tuple(self._fresh("each") for _ in scanned)
        result = body(*inputs)
        nodes, self._nodes = self._nodes, outside
        graph = helper.make_graph(
            nodes,
            "each_row",
            [helper.make_tensor_value_info(name, kinds.INT64, []) for name in inputs],
            [helper.make_tensor_value_info(result, kinds.FLOAT, [width])],
        )
        return self.add("Scan", *scanned, body=graph, num_scan_inputs=len(scanned))

    def write(self, path: Path, inputs: Sequence[Tensor], outputs: dict[Tensor, str], facts: dict[str, str]) -> None:
        """Write the graph to `path`, and to `path`.data what is beyond protobuf's limit.

        Args:
            path: Its name ends in `.onnx`.
            inputs: Whose names the nodes read.
            outputs: With the names of the values that become them.
            facts: Metadata, for people and runtimes.

        Raises:
            onnx.checker.ValidationError: The graph is no graph.
        """
        helper = self._onnx.helper
        for tensor, value in outputs.items():
            self._nodes.append(helper.make_node("Identity", [value], [tensor.name]))
        graph = helper.make_graph(
            self._nodes,
            "propensity",
            [self._described(tensor) for tensor in inputs],
            [self._described(tensor) for tensor in outputs],
            initializer=self._initializers(path),
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="propensity",
        )
        helper.set_model_props(model, facts)
        path.write_bytes(model.SerializeToString())
        self._onnx.checker.check_model(str(path), full_check=True)

    def _initializers(self, path: Path) -> list[Any]:
        if sum(array.nbytes for array in self._weights.values()) <= EXTERNAL_BEYOND:
            return [self._onnx.numpy_helper.from_array(array, name) for name, array in self._weights.items()]
        tensors = []
        with path.with_name(f"{path.name}.data").open("wb") as file:
            for name, array in self._weights.items():
                if array.nbytes < EXTERNAL_FROM:
                    tensors.append(self._onnx.numpy_helper.from_array(array, name))
                    continue
                file.seek(-file.tell() % ALIGNMENT, 1)
                place = {"location": f"{path.name}.data", "offset": file.tell(), "length": array.nbytes}
                file.write(np.ascontiguousarray(array).data)
                tensor = self._onnx.TensorProto(
                    name=name,
                    dims=array.shape,
                    data_type=self._onnx.helper.np_dtype_to_tensor_dtype(array.dtype),
                    data_location=self._onnx.TensorProto.EXTERNAL,
                )
                for key, value in place.items():
                    tensor.external_data.add(key=key, value=str(value))
                tensors.append(tensor)
        return tensors

    def _described(self, tensor: Tensor) -> Any:
        kind = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
        return self._onnx.helper.make_tensor_value_info(tensor.name, kind, list(tensor.shape))

    def _fresh(self, what: str) -> str:
        self._names += 1
        return f"{what}_{self._names}"
