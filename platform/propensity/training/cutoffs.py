"""Which as_ofs a training run learns from: always in time order, never random."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from propensity.errors import TrainingError
from propensity.features.events import event_imports
from propensity.features.labels import label_window_end
from propensity.warehouse.regions import local_days_later

if TYPE_CHECKING:
    from propensity.settings import Settings


@dataclass(frozen=True)
class Cutoffs:
    """The as_ofs of a training run as of `trained_as_of`.

    Attributes:
        trained_as_of: No label window used ends later.
        train: As_ofs whose label windows ended by the validation as_of, rising.
        validation: The newest as_of whose window has ended: early stopping and calibration.
        refit: All as_ofs, rising: what the net that is kept learns from.
    """

    trained_as_of: datetime
    train: tuple[datetime, ...]
    validation: datetime
    refit: tuple[datetime, ...]


def training_cutoffs(settings: Settings, trained_as_of: datetime) -> Cutoffs:
    """Choose the as_ofs: back from the newest finished label window, `cutoff_every_days` apart. Read-only.

    Raises:
        TrainingError: History is too short for a validation window and one training window before it.
    """
    options = settings.training
    first_event = min(datetime.fromisoformat(run.detail["first_event_timestamp"]) for run in event_imports(settings))
    # A horizon of history is the least that makes a customer's first snapshot say anything.
    earliest = local_days_later(first_event, settings.labels.horizon_days, settings)
    newest = local_days_later(trained_as_of, -settings.labels.horizon_days, settings)
    candidates = (
        local_days_later(newest, -step * options.cutoff_every_days, settings) for step in range(options.cutoffs)
    )
    # Where a clock change skips the local time of day, days back and forth again may end an hour later.
    refit = tuple(
        sorted(
            as_of for as_of in candidates if as_of >= earliest and label_window_end(settings, as_of) <= trained_as_of
        )
    )
    train = tuple(as_of for as_of in refit if label_window_end(settings, as_of) <= refit[-1])
    if not train:
        raise TrainingError(
            f"Region {settings.region!r} has events from {first_event.date()} on: too little history to train as of "
            f"{trained_as_of.date()}. It takes {3 * settings.labels.horizon_days} days and a cut-off more; choose a "
            "later --as-of, or a shorter labels.horizon_days."
        )
    return Cutoffs(trained_as_of, train, refit[-1], refit)
