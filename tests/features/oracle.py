"""What each signal must be, from its definition, by plain loops over the events: no SQL, no sharing of work.

Written from the comments of `signals/*.sql` and DESIGN.md section 5. Ages and gaps are exact fractions of days.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from .worlds import Attribute, Event, Feature

DAY = timedelta(days=1)
LEAST_AGE = 1e-4  # the last decimal kept: a recency of 0 would say "never"


def known_events(events: Iterable[Event], as_of: datetime) -> list[Event]:
    """Those that happened before the as_of and were recorded by then."""
    return [
        event
        for event in events
        if event.event_timestamp < as_of and (event.created_timestamp is None or event.created_timestamp <= as_of)
    ]


def known_customers(events: Iterable[Event], as_of: datetime) -> set[str]:
    """What a retailer sends makes nobody known."""
    return {event.customer_id for event in known_events(events, as_of) if event.event_type != "campaign_received"}


def features(
    events: Sequence[Event], imports: Sequence[Sequence[Attribute]], as_of: datetime, zone: ZoneInfo
) -> dict[Feature, float]:
    """Every feature's value by (customer_id, signal, key); 0 and undefined ones are left out."""
    found: dict[Feature, float | None] = {}
    for customer in known_customers(events, as_of):
        mine = [event for event in known_events(events, as_of) if event.customer_id == customer]
        for part in (_categories, _views, _products, _promotions, _rhythm):
            for (signal, key), value in part(mine, as_of, zone).items():
                found[customer, signal, key] = value
        for key in _attributes(imports, customer, as_of):
            found[customer, "attribute", key] = 1
    return {feature: value for feature, value in found.items() if value}


def popularity(events: Sequence[Event], event_types: Sequence[str], as_of: datetime) -> dict[str, tuple[int, float]]:
    """(customers, share of known customers) who acted in each category in the 30 days before."""
    buyers = defaultdict(set)
    for event in known_events(events, as_of):
        if event.event_type in event_types and event.category and as_of - event.event_timestamp <= 30 * DAY:
            buyers[event.category].add(event.customer_id)
    total = len(known_customers(events, as_of))
    return {category: (len(who), len(who) / total) for category, who in buyers.items()}


def window_end(as_of: datetime, days: int, zone: ZoneInfo) -> datetime:
    """The same local time of day, days later."""
    local = as_of.astimezone(zone)
    return (local.replace(tzinfo=None) + days * DAY).replace(tzinfo=zone).astimezone(UTC)


def labels(
    events: Sequence[Event], event_types: Sequence[str], as_of: datetime, end: datetime
) -> dict[str, dict[str, int]]:
    """The highest class of each known customer in each category in [as_of, end)."""
    found: dict[str, dict[str, int]] = {customer: {} for customer in known_customers(events, as_of)}
    for event in events:
        if event.customer_id in found and event.event_type in event_types and as_of <= event.event_timestamp < end:
            mine, reached = found[event.customer_id], event_types.index(event.event_type) + 1
            if event.category is not None:
                mine[event.category] = max(mine.get(event.category, 0), reached)
    return found


def _age(instant: datetime, as_of: datetime) -> float:
    return max((as_of - instant) / DAY, LEAST_AGE)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _purchases(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if event.event_type == "purchase"]


def _occasions(
    events: Sequence[Event], category: str, event_type: str = "purchase"
) -> dict[tuple[datetime, str], list[Event]]:
    """Purchases in the category: lines of one basket at one instant are one, in order of time, then basket."""
    occasions = defaultdict(list)
    for event in events:
        if event.category == category and event.event_type == event_type:
            occasions[event.event_timestamp, str(event.basket)].append(event)
    return dict(sorted(occasions.items()))


def _categories(events: Sequence[Event], as_of: datetime, zone: ZoneInfo) -> dict[tuple[str, str], float | None]:
    del zone
    tenure = max(_age(e.event_timestamp, as_of) for e in events if e.event_type != "campaign_received")
    found: dict[tuple[str, str], float | None] = {}
    for category in {event.category for event in _purchases(events) if event.category}:
        occasions = _occasions(events, category)
        ages = [_age(instant, as_of) for instant, _ in occasions]
        lines = [(_age(instant, as_of), event) for (instant, _), group in occasions.items() for event in group]
        gaps = [(later - earlier) / DAY for (earlier, _), (later, _) in pairwise(occasions)]
        for days in (7, 30, 90, 365):
            found[f"purchases_{days}d", category] = sum(age < days for age in ages)
        found["quantity_90d", category] = sum(event.quantity for age, event in lines if age < 90)
        found["spend_90d", category] = sum(event.value for age, event in lines if age < 90)
        for half_life in (15, 60, 180):
            found[f"purchases_decay_{half_life}d", category] = sum(0.5 ** (age / half_life) for age in ages)
        found["spend_decay_60d", category] = sum(event.value * 0.5 ** (age / 60) for age, event in lines)
        found["recency_days", category] = min(ages)
        found["first_purchase_days", category] = max(ages)
        mean = _mean(gaps)
        found["gap_mean_days", category] = mean
        found["gap_std_days", category] = (
            math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) if mean is not None else None
        )
        windows = {math.floor(age / 30) for age in ages if age < 360}
        found["window_share", category] = len(windows) / min(12, math.floor(tenure / 30) + 1)
    return found


def _views(events: Sequence[Event], as_of: datetime, zone: ZoneInfo) -> dict[tuple[str, str], float | None]:
    del zone
    found: dict[tuple[str, str], float | None] = {}
    for category in {event.category for event in events if event.event_type == "view" and event.category}:
        ages = [_age(instant, as_of) for instant, _ in _occasions(events, category, "view")]
        for days in (7, 30, 90, 365):
            found[f"views_{days}d", category] = sum(age < days for age in ages)
        for half_life in (15, 60):
            found[f"views_decay_{half_life}d", category] = sum(0.5 ** (age / half_life) for age in ages)
        found["view_recency_days", category] = min(ages)
    return found


def _products(events: Sequence[Event], as_of: datetime, zone: ZoneInfo) -> dict[tuple[str, str], float | None]:
    del zone
    found: dict[tuple[str, str], float | None] = defaultdict(float)
    for event in _purchases(events):
        age = _age(event.event_timestamp, as_of)
        if event.product_type and age < 365:
            found["product_type_decay_60d", event.product_type] += 0.5 ** (age / 60)
        if age >= 90:
            continue
        if event.product_type:
            found["product_type_90d", event.product_type] += 1
        if event.department:
            found["department_90d", event.department] += 1
            found["department_spend_90d", event.department] += event.value
        if event.brand:
            found["brand_90d", event.brand] += 1
    return dict(found)


def _promotions(events: Sequence[Event], as_of: datetime, zone: ZoneInfo) -> dict[tuple[str, str], float | None]:
    del zone
    found: dict[tuple[str, str], float | None] = defaultdict(float)
    recent = [event for event in events if _age(event.event_timestamp, as_of) < 90]
    for event in recent:
        counted = {"coupon_redemption": "coupon_redemptions_90d", "campaign_received": "campaigns_received_90d"}
        if event.event_type in counted and event.campaign_type:
            found[counted[event.event_type], event.campaign_type] += 1
    for category in {event.category for event in _purchases(recent) if event.category}:
        groups = _occasions(recent, category).values()
        lines = [event for group in groups for event in group]
        found["promoted_purchases_90d", category] = sum(any(event.promoted for event in group) for group in groups)
        discount = sum(event.discount for event in lines)
        found["discount_share_90d", category] = _ratio(discount, discount + sum(event.value for event in lines))
    return dict(found)


def _rhythm(events: Sequence[Event], as_of: datetime, zone: ZoneInfo) -> dict[tuple[str, str], float | None]:
    baskets = defaultdict(list)
    for event in _purchases(events):
        baskets[str(event.basket)].append(event)
    visits = [(min(_age(e.event_timestamp, as_of) for e in lines), lines) for lines in baskets.values()]
    ages = [age for age, _ in visits]
    quarter = [lines for age, lines in visits if age < 90]
    spend = [sum(event.value for event in lines) for lines in quarter]
    discount = sum(event.discount for lines in quarter for event in lines)
    weekend = [any(e.event_timestamp.astimezone(zone).isoweekday() >= 6 for e in lines) for lines in quarter]
    found: dict[str, float | None] = {
        "tenure_days": max(_age(e.event_timestamp, as_of) for e in events if e.event_type != "campaign_received"),
        "visit_recency_days": min(ages, default=None),
        "visits_7d": sum(age < 7 for age in ages),
        "visits_30d": sum(age < 30 for age in ages),
        "visits_90d": sum(age < 90 for age in ages),
        "visit_gap_mean_days": (max(ages) - min(ages)) / (len(ages) - 1) if len(ages) > 1 else None,
        "basket_value_mean_90d": _mean(spend),
        "total_spend_30d": sum(event.value for age, lines in visits if age < 30 for event in lines),
        "total_spend_90d": sum(spend),
        "total_discount_share_90d": _ratio(discount, discount + sum(spend)),
        "weekend_share_90d": _mean(weekend),
    }
    return {(signal, ""): value for signal, value in found.items()}


def _attributes(imports: Sequence[Sequence[Attribute]], customer: str, as_of: datetime) -> list[str]:
    newest: dict[str, tuple[tuple[bool, datetime, int], str]] = {}
    for number, imported in enumerate(imports):
        for row in imported:
            dated = row.created_timestamp
            if row.customer_id != customer or (dated is not None and dated > as_of):
                continue
            rank = (dated is not None, dated or datetime.min.replace(tzinfo=UTC), number)
            if row.attribute not in newest or newest[row.attribute][0] < rank:
                newest[row.attribute] = (rank, row.value)
    return [f"{attribute}={value}" for attribute, (_, value) in newest.items()]


def assert_features(actual: dict[Feature, float], expected: dict[Feature, float]) -> None:
    """Compare values that are rounded to four decimals and stored as float32."""
    wrong = []
    for feature in actual.keys() | expected.keys():
        have, want = actual.get(feature, 0.0), expected.get(feature, 0.0)
        if abs(have - want) > 5.1e-5 + 1e-6 * abs(want):
            wrong.append((feature, have, want))
        elif feature not in actual and abs(want) > 5.1e-5:
            wrong.append((feature, None, want))
    assert not wrong, "\n".join(f"{feature}: {have} is wrong, {want} is right" for feature, have, want in sorted(wrong))
