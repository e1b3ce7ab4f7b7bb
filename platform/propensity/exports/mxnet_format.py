"""The MXNet export: symbol and parameters as MXNet 1.9.1 and DJL load them, and the encoder's tables for the caller."""

from __future__ import annotations

import shutil
import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.sparse import csr_matrix, vstack

from propensity.errors import ExportError
from propensity.exports.folded import cross_column, crosses
from propensity.exports.mxnet_symbol import (
    CROSS,
    CUSTOMER,
    DEEP,
    PAIR_POSITION,
    PAIR_ROW,
    PAIR_SIGNALS,
    inputs,
    symbol_of,
)
from propensity.exports.signature import POPULARITY, output_tensors
from propensity.models.encoding import ENCODER_JSON, ENCODER_TABLE, customer_matrix, squash
from propensity.models.seen_pairs import seen_pairs
from propensity.training.mxnet_runtime import mx

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from propensity.exports.checking import Run
    from propensity.exports.signature import Tensor
    from propensity.models.artifact import Artifact
    from propensity.models.model import Model

SYMBOL: Final = "propensity-symbol.json"
PARAMETERS: Final = "propensity-0000.params"


def write(directory: Path, artifact: Artifact) -> tuple[Tensor, ...]:
    """Write `propensity-symbol.json`, `propensity-0000.params` and the encoder's files; return the graph's inputs."""
    symbol, weights = symbol_of(artifact.model)
    symbol.save(str(directory / SYMBOL))
    mx.nd.save(str(directory / PARAMETERS), {f"arg:{name}": mx.nd.array(array) for name, array in weights.items()})
    for name in (ENCODER_TABLE, ENCODER_JSON):
        shutil.copyfile(artifact.directory / name, directory / name)
    return inputs(artifact.model)


def load(directory: Path, model: Model) -> Run:
    """Load the graph as other runtimes would; rows are sorted into its inputs here.

    Raises:
        ExportError: It isn't a graph, or not one that can be run.
    """
    given = inputs(model)
    names = [tensor.name for tensor in output_tensors(len(model.encoder.categories), model.n_classes)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it can't tell the type of `deep`, which comes with the array
            block = mx.gluon.SymbolBlock.imports(
                str(directory / SYMBOL), [tensor.name for tensor in given], str(directory / PARAMETERS)
            )
    except Exception as error:
        raise _unfit(directory, error) from error

    def run(rows: csr_matrix, popularity: npt.NDArray[np.float32]) -> dict[str, Any]:
        arrays = sorted_into_inputs(model, rows) | {POPULARITY: popularity}
        try:
            answer = block(*(_array(arrays[tensor.name], tensor) for tensor in given))
            outputs = answer if isinstance(answer, list) else [answer]
            return {name: output.asnumpy()[:-1] for name, output in zip(names, outputs, strict=True)}
        except Exception as error:
            raise _unfit(directory, error) from error

    return run


def sorted_into_inputs(model: Model, rows: csr_matrix) -> dict[str, Any]:
    """Sort raw rows into the graph's inputs but the popularity, as a caller must; a closing row comes after them.

    It has no value and one pair, of position 0 and signals 0. MXNet dies of arrays without elements, and so there is
    always a row and a pair.
    """
    encoder = model.encoder
    rows = rows[:, : encoder.n_features]
    rows = vstack([rows, csr_matrix((1, rows.shape[1]), dtype=np.float32)], format="csr")
    values = squash(rows.data)
    offsets, position, signals = seen_pairs(
        rows, values, encoder.feature_position, encoder.feature_signal, n_categories=len(encoder.categories)
    )
    sorted_rows = {
        DEEP: _columns(rows, values, encoder.feature_column, max(encoder.n_columns, 1)),
        CUSTOMER: customer_matrix(rows, values, encoder.feature_customer),
        PAIR_ROW: np.append(np.repeat(np.arange(rows.shape[0]), np.diff(offsets)), rows.shape[0] - 1),
        PAIR_POSITION: np.append(position, 0),
        PAIR_SIGNALS: np.pad(signals, ((0, 1), (0, 0))),
    }
    if crosses(model):
        width = len(encoder.categories) * len(encoder.cross_signals)
        sorted_rows[CROSS] = _columns(rows, values, cross_column(encoder), width)
    return sorted_rows


def _columns(rows: csr_matrix, values: npt.NDArray[np.float32], table: npt.NDArray[np.int32], width: int) -> csr_matrix:
    column = table[rows.indices]
    keep = column >= 0
    offsets = np.concatenate(([0], np.cumsum(keep)))[rows.indptr]
    matrix = csr_matrix((values[keep], column[keep], offsets), shape=(rows.shape[0], width))
    matrix.sort_indices()
    return matrix


def _array(array: Any, tensor: Tensor) -> Any:
    if tensor.storage == "csr":
        return mx.nd.sparse.csr_matrix((array.data, array.indices, array.indptr), shape=array.shape)
    return mx.nd.array(array, dtype=tensor.dtype)


def _unfit(directory: Path, error: Exception) -> ExportError:
    reason = " ".join(str(error).split())[:300]
    return ExportError(f"MXNet can't run {directory / SYMBOL}: {reason}")
