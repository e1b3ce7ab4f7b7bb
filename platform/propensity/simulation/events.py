"""A chunk's purchases, views and coupons as rows of the platform's event schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from propensity.simulation.customers import chunk_generator, customer_names, draw_factors, make_customers
from propensity.simulation.purchases import make_purchases
from propensity.simulation.views import make_views
from propensity.simulation.world import ITEMS_PER_TYPE, category_name
from propensity.warehouse.schemas import INSTANT

if TYPE_CHECKING:
    from datetime import datetime

    import numpy.typing as npt

    from propensity.simulation.customers import Customers
    from propensity.simulation.purchases import Purchases
    from propensity.simulation.views import Views
    from propensity.simulation.world import World

DAY_MICROSECONDS: Final = 86_400_000_000
CATEGORIES_PER_DEPARTMENT: Final = 20
BRANDS: Final = 12
AGE_BANDS: Final = ("under 30", "30 to 44", "45 to 64", "65 and over")
AGE_LIMITS: Final = (-0.7, 0.1, 0.9)
"""Of the first factor of taste with noise: age says a little about taste, as it does."""


def events_of_chunk(world: World, chunk: int, start: datetime) -> pa.Table:
    """Return a chunk's events: purchases by customer, category and time, then views, then received campaigns.

    Args:
        chunk: 0 .. population.chunks - 1.
        start: Instant at which day 0 begins.
    """
    customers = make_customers(world, chunk)
    purchases = make_purchases(world, customers, chunk)
    rows = [_purchase_rows(world, customers, purchases, start, chunk_generator(world.population, chunk, 2))]
    if world.population.views_per_purchase:
        views = make_views(world, customers, chunk)
        rows.append(_view_rows(world, customers, views, start, chunk_generator(world.population, chunk, 7)))
    return pa.concat_tables([*rows, _campaign_rows(world, customers, start)], promote_options="default")


def customers_of_chunk(world: World, chunk: int) -> pa.Table:
    """Return customer_id, age_band and household_size of a chunk's customers, as text."""
    first, factors = draw_factors(world.population, chunk)
    rng = chunk_generator(world.population, chunk, 3)
    age = np.digitize(factors[:, 0] + 0.7 * rng.standard_normal(len(factors)), AGE_LIMITS)
    size = rng.choice(np.array(["1", "2", "3", "4", "5+"]), len(factors), p=[0.3, 0.33, 0.16, 0.14, 0.07])
    names = customer_names(first, len(factors))
    return pa.table({"customer_id": names, "age_band": np.array(AGE_BANDS)[age], "household_size": size})


def instants(day: npt.NDArray[np.float64], start: datetime) -> npt.NDArray[np.int64]:
    """Return the instants of `day`, days since `start`, in whole microseconds since 1970."""
    return microseconds(start) + np.floor(day * DAY_MICROSECONDS).astype(np.int64)


def microseconds(instant: datetime) -> int:
    """Return an instant as whole microseconds since 1970."""
    return round(instant.timestamp() * 1e6)


def _purchase_rows(
    world: World, customers: Customers, purchases: Purchases, start: datetime, rng: np.random.Generator
) -> pa.Table:
    category, count = purchases.category, len(purchases.day)
    items = _item_columns(world, category, rng)
    quantity = rng.geometric(0.75, count).astype(np.float64)
    full = np.round(quantity * world.price[category] * np.exp(rng.normal(0, 0.3, count)), 2).clip(0.02)
    promoted = purchases.lifted | (rng.random(count) < 0.1)
    discount = np.where(promoted, np.round(0.2 * full, 2), 0.0)
    return pa.table(
        {
            "customer_id": pa.array(customers.names).take(pa.array(purchases.customer)),
            "event_timestamp": pa.array(instants(purchases.day, start)).cast(INSTANT),
            "event_type": _repeated("purchase", count),
            **items,
            "quantity": quantity,
            "value": np.round(full - discount, 2),
            "discount": discount,
            # What a customer buys on one day is one basket.
            "basket_id": _numbered("day ", np.floor(purchases.day).astype(np.int64)),
            "promoted": promoted,
            "campaign_type": pa.nulls(count, pa.string()),
        }
    )


def _view_rows(world: World, customers: Customers, views: Views, start: datetime, rng: np.random.Generator) -> pa.Table:
    return pa.table(
        {
            "customer_id": pa.array(customers.names).take(pa.array(views.customer)),
            "event_timestamp": pa.array(instants(views.day, start)).cast(INSTANT),
            "event_type": _repeated("view", len(views.day)),
            **_item_columns(world, views.category, rng),
        }
    )


def _item_columns(world: World, category: npt.NDArray[np.int64], rng: np.random.Generator) -> dict[str, pa.Array]:
    """Draw an item of each category; return the columns that name it and what it belongs to."""
    product_type = world.first_type[category] + _zipf_draw(world.types[category], world.population.zipf, rng)
    item = _zipf_draw(np.full(len(category), ITEMS_PER_TYPE), world.population.zipf, rng)
    numbers = range(len(world.popularity))
    names = pa.array([category_name(number) for number in numbers])
    departments = pa.array([f"DEPARTMENT {number // CATEGORIES_PER_DEPARTMENT:04d}" for number in numbers])
    return {
        "item_id": _numbered("item ", product_type * ITEMS_PER_TYPE + item),
        "category": names.take(pa.array(category)),
        "product_type": _numbered("type ", product_type),
        "department": departments.take(pa.array(category)),
        "brand": _numbered("brand ", product_type % BRANDS),
    }


def _campaign_rows(world: World, customers: Customers, start: datetime) -> pa.Table:
    number, customer = np.nonzero(customers.received)
    begins = np.array([campaign.begins for campaign in world.campaigns])[number]
    coupons = pa.array([f"coupon {category_name(campaign.category)}" for campaign in world.campaigns], pa.string())
    return pa.table(
        {
            "customer_id": pa.array(customers.names).take(pa.array(customer)),
            "event_timestamp": pa.array(instants(begins, start)).cast(INSTANT),
            "event_type": _repeated("campaign_received", len(number)),
            "campaign_type": coupons.take(pa.array(number)),
        }
    )


def _zipf_draw(n_choices: npt.NDArray[np.int64], exponent: float, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw from 0 .. n_choices - 1 with probabilities that fall as (1 + number) ** -exponent."""
    if not len(n_choices):
        return n_choices
    heights = np.cumsum(np.arange(1, n_choices.max() + 1, dtype=np.float64) ** -exponent)
    drawn = np.searchsorted(heights, rng.random(len(n_choices)) * heights[n_choices - 1], side="right")
    return np.minimum(drawn, n_choices - 1)


def _numbered(prefix: str, numbers: npt.NDArray[np.int64]) -> pa.Array:
    distinct, codes = np.unique(numbers, return_inverse=True)
    return pc.binary_join_element_wise(prefix, pa.array(distinct).cast(pa.string()), "").take(pa.array(codes))


def _repeated(text: str, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(text), count)
