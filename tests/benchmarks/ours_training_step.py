"""The platform's own step for bench_training_step.py, by `descent.train_net` as a training runs it, batches and all.

python ours_training_step.py DIRECTORY OPTIMIZER STEPS NETWORK CROSS_SIGNALS
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import training_step_data as data
from scipy.sparse import csr_matrix

from propensity.models.encoded_rows import EncodedRows
from propensity.settings import TrainingSettings
from propensity.training import mxnet_runtime, threads
from propensity.training.batches import Batches
from propensity.training.descent import Losses, train_net
from propensity.training.encoded_examples import EncodedExamples
from propensity.training.networks import NetworkShape

CUSTOMER_SIGNALS = 8
ASSEMBLED = 10
"""Batches whose assembly alone is timed."""


def examples_of(rows: data.Rows, network: str, cross_signals: int) -> EncodedExamples:
    """Return the rows as the encoder would hand them over; without seen pairs for the plain net."""
    shape = rows.shape
    aligned = network == "category_aligned"
    seen = shape.seen if aligned else 0
    pairs = rows.pair_category if aligned else rows.pair_category[:, :0]
    signals = np.array(rows.pair_signals if aligned else rows.pair_signals[:, :0]).reshape(-1, shape.signals)
    cross_columns = pairs[:, :, None] * cross_signals + np.arange(cross_signals, dtype=np.int32)
    cross_columns = cross_columns.reshape(shape.rows, seen * cross_signals)
    cross_values = np.abs(signals[:, :cross_signals]).reshape(cross_columns.shape)
    customer = np.random.default_rng(2).standard_normal((shape.rows, CUSTOMER_SIGNALS * aligned), dtype=np.float32)
    labels = _csr(rows.positives, np.ones(rows.positives.shape, np.int8), shape.outputs)
    labels.sum_duplicates()
    labels.data[:] = 1
    return EncodedExamples(
        rows=EncodedRows(
            deep=_csr(rows.columns, rows.values, shape.features),
            customer=customer,
            cross=_csr(cross_columns, cross_values, shape.outputs * max(cross_signals, 1)),
            pair_indptr=np.arange(shape.rows + 1, dtype=np.int64) * seen,
            pair_position=pairs.flatten(),
            pair_signals=signals,
        ),
        prior=np.zeros((1, shape.outputs), np.float32),
        as_of_position=np.zeros(shape.rows, np.int32),
        labels=labels,
    )


def _csr(columns: np.ndarray, values: np.ndarray, width: int) -> csr_matrix:
    """Return what is given row by row, (rows, entries of each), as CSR."""
    indptr = np.arange(len(columns) + 1, dtype=np.int32) * columns.shape[1]
    return csr_matrix((values.flatten(), columns.flatten(), indptr), shape=(len(columns), width))


def training(rows: data.Rows, optimizer: str, network: str, cross_signals: int) -> dict[str, Any]:
    """Return the arguments of `train_net` for one pass without a validation."""
    shape = rows.shape
    examples = examples_of(rows, network, cross_signals)
    settings = TrainingSettings(
        network=network,
        optimizer=optimizer,
        batch_size=shape.batch,
        learning_rate=data.LEARNING_RATES[optimizer],
        epochs=1000,  # of which one is run: the rate hardly falls, as it doesn't for the peers
        dropout=0.0,  # which peers don't have; nor a penalty
        weight_decay=0.0,
        hidden=shape.hidden,
    )
    net = NetworkShape(
        n_columns=shape.features,
        n_categories=shape.outputs,
        n_classes=2,
        n_signals=shape.signals,
        n_cross_signals=cross_signals,
        n_customer_signals=examples.rows.customer.shape[1],
        hidden=settings.hidden,
        aligned_hidden=settings.aligned_hidden,
        embedding=settings.embedding,
        context=settings.context,
        dropout=settings.dropout,
        aligned_dropout=settings.aligned_dropout,
    )
    return {"train": examples, "validation": None, "shape": net, "settings": settings, "epochs": 1}


def main() -> None:
    directory, optimizer, steps, network = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    mxnet_runtime.set_threads(data.threads())
    threads.set_threads(data.threads())
    given = training(data.read(directory), optimizer, network, int(sys.argv[5]))
    reached: dict[int, tuple[float, float]] = {}

    def progress(epoch: int, batch: int, n_batches: int, losses: Losses) -> None:
        # The dense optimizers' work may still be queued, at either end of the clock.
        reached[batch] = time.perf_counter(), losses.train

    train_net(**given, progress=progress)
    timed = data.WARM_UP + steps
    if not {data.WARM_UP, timed} <= set(reached):
        raise RuntimeError(f"train_net reported batches {sorted(reached)}, not {data.WARM_UP} and {timed}")
    seconds = (reached[timed][0] - reached[data.WARM_UP][0]) / steps
    batch_size = given["settings"].batch_size
    data.print_result(seconds, reached[data.WARM_UP][1], assembly=assembly_seconds(given["train"], batch_size))


def assembly_seconds(examples: EncodedExamples, batch_size: int) -> float:
    """Return the seconds that a batch takes to assemble, alone, in the caller's thread."""
    batches = iter(Batches(examples, batch_size, np.random.default_rng(3), prefetch=0))
    next(batches)
    started = time.perf_counter()
    for _ in range(ASSEMBLED):
        next(batches)
    return (time.perf_counter() - started) / ASSEMBLED


if __name__ == "__main__":
    main()
