"""Putting a published run online, through Feast."""

from __future__ import annotations

import contextlib
import io
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from propensity import columns
from propensity.features.feature_store import open_feature_store
from propensity.progress import Progress, silent
from propensity.warehouse.catalogue_session import catalogue_session
from propensity.warehouse.publications import age_order, newest_online, publications
from propensity.warehouse.runs import RunRecord, mark_run

if TYPE_CHECKING:
    from propensity.settings import Settings


def materialize(settings: Settings, run: RunRecord, progress: Progress = silent) -> bool:
    """Write the run's top categories (and full vectors, if set) to Feast's online store; return whether it did.

    A run that is online already, or older than the newest that is, is left alone: Feast's sqlite store would let the
    older score overwrite the newer one.

    Side effects: writes to the online store and to Feast's registry; marks the run in the catalogue.
    """
    del progress
    views = [columns.TOP_CATEGORIES_VIEW] + ([columns.CATEGORY_PROPENSITY] if settings.online_full_vectors else [])
    online = newest_online(publications(settings))
    if run.as_of is None or (online is not None and age_order(online) > age_order(run)):
        return False
    if online is not None and online.run_id == run.run_id and set(views) <= set(online.detail.get("online_views", [])):
        return False
    store = open_feature_store(settings)
    with contextlib.redirect_stdout(io.StringIO()):  # Feast prints its own progress
        store.materialize(
            start_date=run.as_of - timedelta(seconds=1),
            end_date=run.as_of + timedelta(seconds=1),
            feature_views=views,
        )
    with catalogue_session(settings) as session:
        mark_run(session, run.run_id, online=datetime.now(UTC).isoformat(), online_views=views)
    return True
