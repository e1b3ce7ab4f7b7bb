"""Baselines' predictions for a window, kept in the home so that a slow one is fitted once.

A file is named by what it is made of: the training windows, the snapshot predicted, the options, and the text of the
baselines' code. It holds no label of the window.
"""

from __future__ import annotations

import time
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from propensity.baselines import BASELINES, FitOptions
from propensity.features.labels import find_labels
from propensity.features.snapshots import find_snapshot
from propensity.warehouse.runs import fingerprint

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.features.dictionary import FeatureDictionary
    from propensity.settings import Settings
    from propensity.training.examples import Examples


@dataclass(frozen=True)
class BaselinePrediction:
    """What a baseline said of a window.

    Attributes:
        probabilities: float32, dense, (n_examples, n_categories).
        fit_seconds: Wall time of fitting and calibrating it, when that was done.
    """

    probabilities: npt.NDArray[np.float32]
    fit_seconds: float


def inputs_of(settings: Settings, training_as_ofs: Sequence[datetime], as_of: datetime, options: FitOptions) -> str:
    """Return a name for all that a baseline's predictions of the snapshot at `as_of` are made of, but its own name.

    Threads are left out: a result doesn't depend on them.

    Raises:
        MissingSnapshotError: A snapshot or labels are missing.
    """
    return fingerprint(
        [(find_snapshot(settings, each).contents, find_labels(settings, each).contents) for each in training_as_ofs],
        find_snapshot(settings, as_of).contents,
        asdict(options) | {"threads": None},
        _code(),
    )


def predict_or_recall(
    directory: Path,
    name: str,
    inputs: str,
    *,
    training: Examples,
    test: Examples,
    dictionary: FeatureDictionary,
    options: FitOptions,
) -> BaselinePrediction:
    """Return the baseline's predictions for `test`, from `directory` if they were made of the same inputs.

    Args:
        directory: Where predictions are kept.
        name: One of `BASELINES`.
        inputs: See `inputs_of`.
        training: Rows to fit on, with labels.
        test: Rows to predict.
        dictionary: Describes the columns of both.
        options: What the baseline is told.

    Raises:
        PropensityError: As `Baseline.fit` and `FittedBaseline.predict`.

    Side effects: writes a file of 4 bytes a pair, by one rename; one that can't be read is written again.
    """
    path = directory / f"{name}-{inputs}.npz"
    kept = _read(path, (len(test), test.n_categories))
    if kept is not None:
        return kept
    started = time.monotonic()
    fitted = BASELINES[name](options).fit(training, dictionary)
    found = BaselinePrediction(probabilities=fitted.predict(test), fit_seconds=time.monotonic() - started)
    directory.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, probabilities=found.probabilities, fit_seconds=np.float64(found.fit_seconds))
    part.replace(path)
    return found


def _read(path: Path, shape: tuple[int, int]) -> BaselinePrediction | None:
    try:
        # Opened here: np.load leaves a file open that turns out to be no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            probabilities: npt.NDArray[Any] = kept["probabilities"]
            seconds = float(kept["fit_seconds"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return BaselinePrediction(probabilities, seconds) if probabilities.shape == shape else None


@cache
def _code() -> str:
    """Return a name for the text of the baselines' code and of their calibration: an edited baseline is another one."""
    calibration = [files("propensity") / room / "calibration.py" for room in ("models", "training")]
    modules = [module for module in files("propensity.baselines").iterdir() if module.name.endswith(".py")]
    return fingerprint(sorted((module.name, module.read_text()) for module in [*modules, *calibration]))
