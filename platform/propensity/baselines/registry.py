"""The baselines by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from propensity.baselines.frequency import PersonalFrequency, RecencyWeightedFrequency
from propensity.baselines.lightgbm_per_category import LightGbmPerCategory
from propensity.baselines.lightgbm_pooled import LightGbmPooled
from propensity.baselines.logistic import LogisticRegression
from propensity.baselines.popularity import GlobalPopularity
from propensity.baselines.tifu_knn import TifuKnn
from propensity.errors import LookupFailedError, did_you_mean
from propensity.settings import SIMPLE_BASELINES

if TYPE_CHECKING:
    from propensity.baselines.interface import Baseline

BASELINES: Final[dict[str, type[Baseline]]] = {
    "global_popularity": GlobalPopularity,
    "personal_frequency": PersonalFrequency,
    "recency_weighted_frequency": RecencyWeightedFrequency,
    "tifu_knn": TifuKnn,
    "logistic_regression": LogisticRegression,
    "lightgbm_per_category": LightGbmPerCategory,
    "lightgbm_pooled": LightGbmPooled,
}
"""The baselines by name, in the order of reports: simple ones first."""

SIMPLE: Final = SIMPLE_BASELINES
"""Those that take seconds; what an evaluation compares with unless told otherwise."""


def chosen(names: str | Sequence[str]) -> tuple[str, ...]:
    """Return the baselines of `all`, `simple`, or names (a sequence, or separated by commas) in `BASELINES`' order.

    Raises:
        LookupFailedError: A name isn't one of them, or there is none.
    """
    given = [part.strip() for part in names.split(",")] if isinstance(names, str) else list(names)
    wanted: set[str] = set()
    for name in given:
        if name == "all":
            wanted.update(BASELINES)
        elif name == "simple":
            wanted.update(SIMPLE)
        elif name in BASELINES:
            wanted.add(name)
        else:
            known = ["all", "simple", *BASELINES]
            raise LookupFailedError(
                f"{name!r} is not a baseline.{did_you_mean(name, known)} Known ones: {', '.join(known)}."
            )
    if not wanted:
        raise LookupFailedError(f"No baseline is named. Known ones: all, simple, {', '.join(BASELINES)}.")
    return tuple(name for name in BASELINES if name in wanted)
