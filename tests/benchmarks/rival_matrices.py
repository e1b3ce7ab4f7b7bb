"""What bench_rivals.py hands to other libraries' linear models, and how each is fitted: numpy and scipy alone.

A rival has what the net has: the windows before the validation window to learn from, the validation window to choose
its penalty on, as the net's early stopping does, and then all windows for the model that is kept.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, load_npz, save_npz

INVERSE_PENALTIES = (0.01, 0.1)
"""What is tried: liblinear's C."""
CLIP = 1e-5
"""Probabilities are kept this far from 0 and 1, as `propensity.evaluation.metrics` does."""

Predict = Callable[[csr_matrix], npt.NDArray[np.floating[Any]]]


def write(directory: Path, name: str, features: csr_matrix, labels: csr_matrix) -> None:
    """Write a window's features, float32, (n_rows, n_columns), and labels 0 and 1, (n_rows, n_categories)."""
    save_npz(directory / f"{name}.features.npz", features, compressed=False)
    save_npz(directory / f"{name}.labels.npz", labels.astype(np.float32), compressed=False)


def read(directory: Path, name: str) -> tuple[csr_matrix, csr_matrix]:
    """Read what `write` wrote."""
    return load_npz(directory / f"{name}.features.npz"), load_npz(directory / f"{name}.labels.npz")


def fit_and_predict(directory: Path, name: str, fit: Callable[[csr_matrix, csr_matrix, float], Predict]) -> None:
    """Fit a rival, write its probabilities of the test window as NAME.npy, and print what it took as JSON.

    Args:
        directory: Has `train`, `validation`, `refit` and `test`.
        name: Of the file.
        fit: From features, labels and an inverse penalty to a function from features to probabilities.
    """
    train, validation = read(directory, "train"), read(directory, "validation")
    wall, cpu = time.monotonic(), _cpu_seconds()
    losses = {penalty: _log_loss(validation[1], fit(*train, penalty)(validation[0])) for penalty in INVERSE_PENALTIES}
    chosen = min(losses, key=losses.__getitem__)
    predict = fit(*read(directory, "refit"), chosen)
    took = {"wall": time.monotonic() - wall, "cpu": _cpu_seconds() - cpu, "penalty": chosen}
    np.save(directory / f"{name}.npy", predict(read(directory, "test")[0]).astype(np.float32))
    print(json.dumps(took))


def _log_loss(labels: csr_matrix, probabilities: npt.NDArray[np.floating[Any]]) -> float:
    clipped = np.clip(probabilities, CLIP, 1 - CLIP)
    return float(-np.log(np.where(labels.toarray() > 0, clipped, 1 - clipped)).mean(dtype=np.float64))


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
