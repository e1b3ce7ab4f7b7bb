"""Putting a published run online, through Feast."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from propensity import columns
from propensity.features.feature_store import open_feature_store
from propensity.warehouse.catalogue_session import catalogue_session
from propensity.warehouse.runs import RunRecord, list_runs, record_run

if TYPE_CHECKING:
    from propensity.settings import Settings


def materialize(settings: Settings, run: RunRecord) -> bool:
    """Write the run's top categories (and full vectors, if set) to Feast's online store; return whether it did.

    A run that is online already, or older than the newest that is, is left alone: Feast's sqlite store would let the
    older score overwrite the newer one.

    Side effects: writes to the online store and to Feast's registry; marks the run in the catalogue.
    """
    views = [columns.TOP_CATEGORIES_VIEW] + ([columns.CATEGORY_PROPENSITY] if settings.online_full_vectors else [])
    recorded = {other.run_id: other for other in list_runs(settings, kind="scoring") if other.detail.get("online")}
    newest = max((other.as_of for other in recorded.values() if other.as_of is not None), default=run.as_of)
    mine = recorded.get(run.run_id)
    if run.as_of is None or newest is None or newest > run.as_of:
        return False
    if mine is not None and set(views) <= set(mine.detail.get("online_views", [])):
        return False
    store = open_feature_store(settings)
    with contextlib.redirect_stdout(io.StringIO()):  # Feast prints its own progress
        store.materialize(
            start_date=run.as_of - timedelta(seconds=1),
            end_date=run.as_of + timedelta(seconds=1),
            feature_views=views,
        )
    detail = run.detail | {"online": datetime.now(UTC).isoformat(), "online_views": views}
    with catalogue_session(settings) as session:
        record_run(session, dataclasses.replace(run, detail=detail))
    return True
