"""LightGBM's boosting, so that the same data give the same bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from propensity.baselines.optional_packages import lightgbm

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.baselines.interface import FitOptions


def boosted(
    columns: npt.NDArray[np.float32],
    positive: npt.NDArray[np.bool_],
    parameters: Mapping[str, Any],
    rounds: int,
    options: FitOptions,
    *,
    offset: npt.NDArray[np.float32] | None = None,
    categorical: int | None = None,
) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float64]]:
    """Boost trees on log loss and return the map from columns to log-odds, without the offset.

    Args:
        columns: Dense, (n_rows, n_columns).
        positive: bool, (n_rows,).
        parameters: LightGBM's.
        rounds: Trees.
        options: Threads and seed.
        offset: Log-odds to start from, (n_rows,); the trees learn what comes on top. None starts from the share of
            positives.
        categorical: Column that holds a category's number.
    """
    library = lightgbm()
    fixed = {
        "objective": "binary",
        "verbosity": -1,
        "num_threads": options.threads,
        "seed": options.seed,
        "deterministic": True,
        "force_row_wise": True,
    }
    # LightGBM starts from the offset alone where one is given, so the share has to be in it.
    share = float(np.log(positive.sum() + 0.5) - np.log((~positive).sum() + 0.5))
    start = 0.0 if offset is None else share - float(offset.mean())
    data = library.Dataset(
        columns,
        positive.astype(np.float32),
        init_score=None if offset is None else offset + start,
        categorical_feature=[] if categorical is None else [categorical],
        free_raw_data=True,
    )
    booster = library.train(fixed | dict(parameters), data, num_boost_round=rounds)

    def log_odds(other: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        found = booster.predict(other, raw_score=True, num_threads=options.threads)
        return np.asarray(found, dtype=np.float64) + start

    return log_odds
