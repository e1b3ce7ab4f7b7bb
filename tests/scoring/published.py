"""What the home with three publications holds, as its readers see it."""

from __future__ import annotations

from datetime import UTC, datetime

from propensity import columns
from propensity.api import Platform
from propensity.warehouse.runs import list_runs
from tests import shop

AS_OF = datetime(2024, 8, 1, 4, tzinfo=UTC)
TOP_KS = (5, 4, 3)
"""Categories kept by each publication; the first is online."""
CUSTOMERS = [shop.customer_name(number) for number in range(shop.CUSTOMERS)]


def ids(platform: Platform) -> list[str]:
    """Run ids of the scorings, oldest first."""
    return [run.run_id for run in list_runs(platform.settings, kind="scoring")]


def online(platform: Platform) -> dict[str, list[float] | None]:
    """Every customer's top propensities in the online store."""
    store = platform.feature_store()
    answer = store.get_online_features(
        features=store.get_feature_service(columns.SERVING_SERVICE),
        entity_rows=[{"customer_id": customer} for customer in CUSTOMERS],
    ).to_dict()
    return dict(zip(CUSTOMERS, answer["top_propensities"], strict=True))
