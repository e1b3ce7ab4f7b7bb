"""Points of Poisson processes whose rates are those of the pairs (customer, category), times some factor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.simulation.customers import Customers
    from propensity.simulation.world import World


@dataclass(frozen=True, eq=False)
class Points:
    """Points of a chunk's pairs, those of everyday life first, then those of each campaign.

    Attributes:
        pair: Position of the customer in the chunk times the number of categories, plus the category's number, int64,
            (n_points,).
        day: Days since the start, float64, (n_points,).
        lifted: Whether a coupon brought it, bool, (n_points,).
    """

    pair: npt.NDArray[np.int64]
    day: npt.NDArray[np.float64]
    lifted: npt.NDArray[np.bool_]


def draw_points(world: World, customers: Customers, factor: npt.NDArray[Any], rng: np.random.Generator) -> Points:
    """Draw, over the whole simulated time, points at `factor` times the rate lambda_ic(t) of docs/simulation.md.

    Args:
        world: What customers share.
        customers: Of the chunk.
        factor: (n_categories,) or (n_customers, n_categories).
        rng: Drawn from.
    """
    n_categories = len(world.popularity)
    everything = np.arange(n_categories)
    joined = world.elapsed(customers.rhythm[:, None], everything, customers.joins[:, None])
    span = world.effective_days[customers.rhythm, :, -1] - joined
    counts = rng.poisson(factor * customers.rate * span).ravel()
    pair = np.repeat(np.arange(counts.size), counts)
    effective = joined.ravel()[pair] + rng.random(len(pair)) * span.ravel()[pair]
    day = world.day_at(customers.rhythm[pair // n_categories], pair % n_categories, effective)
    found = [(pair, day, np.zeros(len(pair), bool))]
    factors = np.broadcast_to(factor, customers.rate.shape)
    for campaign in world.campaigns:
        reached = np.flatnonzero(customers.received[campaign.number])
        rhythm, category = customers.rhythm[reached], np.full(len(reached), campaign.category)
        begin = world.elapsed(rhythm, category, np.full(len(reached), campaign.begins))
        span = world.elapsed(rhythm, category, np.full(len(reached), campaign.ends)) - begin
        rate = world.population.campaign_lift * customers.rate[reached, campaign.category]
        counts = rng.poisson(factors[reached, campaign.category] * rate * span)
        who = np.repeat(np.arange(len(reached)), counts)
        effective = begin[who] + rng.random(len(who)) * span[who]
        day = world.day_at(rhythm[who], category[who], effective)
        found.append((reached[who] * n_categories + campaign.category, day, np.ones(len(who), bool)))
    return Points(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
