"""What an experiment is made of: built before it starts, and named so that a finished one is recognised."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from propensity.features.feature_store import apply_repository
from propensity.features.labels import build_labels
from propensity.features.snapshots import build_snapshots
from propensity.warehouse.lake import Lake
from propensity.warehouse.region_lock import alone_in_region
from propensity.warehouse.runs import fingerprint

if TYPE_CHECKING:
    from datetime import datetime

    from propensity.pipeline import Observer
    from propensity.settings import Settings

BOOKKEEPING: Final = ("card.py", "decisions.py", "gate.py", "metadata.py", "registry.py")
"""Modules of the room `models` that no figure depends on."""
MEASURES: Final = (
    "bootstrap.py", "evaluation.py", "metrics.py", "pairs.py", "protocol.py", "ranking.py", "resampling.py",
)  # fmt: skip
"""Modules of the room `evaluation` that the figures come from."""


def build_ingredients(settings: Settings, as_ofs: Sequence[datetime], observer: Observer) -> None:
    """Build the features and labels of `as_ofs` that are missing, and apply the definitions, as `pipeline.run` does.

    Raises:
        MissingSnapshotError: A label window hasn't ended by the newest imported event; nothing was built.
        WarehouseLockedError: Another process is running this region.

    Side effects: those of `build_labels`, `build_snapshots` and `apply_repository`, under the region's lock, which is
    given back before anything is trained: an experiment of hours must not keep a daily run waiting.
    """
    with alone_in_region(settings):
        Lake(settings.lake).drop_abandoned()
        # Labels first: they know at once which windows haven't ended.
        build_labels(settings, as_ofs, observer.progress)
        build_snapshots(settings, as_ofs, observer.progress)
        apply_repository(settings)


@cache
def code() -> str:
    """Return a name for the text of the code that trains and measures: figures of an edited net are others.

    The baselines' code is in `kept_baselines.inputs_of`.
    """
    texts = {
        (room, module.name): module.read_text()
        for room in ("training", "models", "evaluation")
        for module in files(f"propensity.{room}").iterdir()
        if module.name.endswith(".py")
    }
    left_out = {name for name in texts if name[0] == "models" and name[1] in BOOKKEEPING}
    left_out |= {name for name in texts if name[0] == "evaluation" and name[1] not in MEASURES}
    return fingerprint(sorted((*name, text) for name, text in texts.items() if name not in left_out))
