"""The ONNX export: one graph from raw feature vectors to propensities, and ONNX Runtime to check it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from propensity.errors import ExportError
from propensity.exports.onnx_net import INDICES, OFFSETS, VALUES, inputs, write_onnx
from propensity.exports.onnx_package import onnxruntime
from propensity.exports.signature import POPULARITY

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    from scipy.sparse import csr_matrix

    from propensity.exports.checking import Run
    from propensity.exports.signature import Tensor
    from propensity.models.artifact import Artifact
    from propensity.models.model import Model

GRAPH: Final = "propensity.onnx"


def write(directory: Path, artifact: Artifact) -> tuple[Tensor, ...]:
    """Write `propensity.onnx`, beyond 2 GB with `propensity.onnx.data`, and return the graph's inputs.

    Raises:
        RuntimeMissingError: onnx isn't installed.
    """
    facts = {
        "region": artifact.metadata.region,
        "model_version": artifact.metadata.model_version,
        "artifact_sha256": artifact.sha256,
    }
    write_onnx(directory / GRAPH, artifact.model, facts)
    return inputs(artifact.model)


def load(directory: Path, _model: Model | None = None) -> Run:
    """Load the graph into ONNX Runtime, as other runtimes would; it needs nothing of the model.

    Raises:
        RuntimeMissingError: onnxruntime isn't installed.
        ExportError: It isn't a graph, or not one that can be run.
    """
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = runtime.InferenceSession(str(directory / GRAPH), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own classes, one for each kind of trouble, share no base
        raise _unfit(directory, error) from error
    names = [output.name for output in session.get_outputs()]

    def run(rows: csr_matrix, popularity: npt.NDArray[np.float32]) -> dict[str, Any]:
        given = {
            INDICES: rows.indices.astype(np.int64),
            OFFSETS: rows.indptr.astype(np.int64),
            VALUES: rows.data,
            POPULARITY: popularity,
        }
        try:
            return dict(zip(names, session.run(names, given), strict=True))
        except Exception as error:
            raise _unfit(directory, error) from error

    return run


def _unfit(directory: Path, error: Exception) -> ExportError:
    reason = " ".join(str(error).split())[:300]
    return ExportError(f"ONNX Runtime can't run {directory / GRAPH}: {reason}")
