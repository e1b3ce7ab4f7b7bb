"""The customers of one chunk: what is latent about them, and what coupons they get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.simulation.population import Population
    from propensity.simulation.world import World


@dataclass(frozen=True, eq=False)
class Customers:
    """The customers of one chunk.

    Attributes:
        first: Number of the first one.
        rate: b_ic, purchases per effective day, float64, (n_customers, n_categories).
        rhythm: g_i, row of `world.RHYTHMS`, int64, (n_customers,).
        joins: Day from which they may buy, float64, (n_customers,).
        received: Whether each got each campaign, bool, (n_campaigns, n_customers).
        curiosity: q_i, how many views of a category of average attraction an expected purchase comes with, float64,
            (n_customers,).
    """

    first: int
    rate: npt.NDArray[np.float64]
    rhythm: npt.NDArray[np.int64]
    joins: npt.NDArray[np.float64]
    received: npt.NDArray[np.bool_]
    curiosity: npt.NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of customers."""
        return len(self.rhythm)

    @property
    def names(self) -> npt.NDArray[np.str_]:
        """customer_id of each, (n_customers,)."""
        return customer_names(self.first, len(self))


def chunk_generator(population: Population, chunk: int, stream: int) -> np.random.Generator:
    """Return the generator of one chunk's `stream`: any chunk can be drawn alone, in any order."""
    return np.random.default_rng(np.random.SeedSequence([population.seed, 1 + chunk, stream]))


def customer_names(first: int, count: int) -> npt.NDArray[np.str_]:
    """Return the customer_id of `count` customers from number `first` on, (count,)."""
    return np.char.mod("c%08d", np.arange(first, first + count))


def draw_factors(population: Population, chunk: int) -> tuple[int, npt.NDArray[np.float64]]:
    """Return the number of a chunk's first customer, and u_i of all of them, float64, (n_customers, taste_rank)."""
    first = chunk * population.chunk_customers
    count = min(population.chunk_customers, population.customers - first)
    return first, chunk_generator(population, chunk, 4).standard_normal((count, population.taste_rank))


def make_customers(world: World, chunk: int) -> Customers:
    """Draw the customers of a chunk; memory is some arrays of (chunk_customers, n_categories)."""
    population = world.population
    first, factors = draw_factors(population, chunk)
    count = len(factors)
    rng = chunk_generator(population, chunk, 0)
    # Of mean 1, so that purchases_per_day is what it says.
    activity = np.exp(rng.normal(-(population.activity_spread**2) / 2, population.activity_spread, count))
    variance = population.taste_strength**2 * (world.factors**2).sum(axis=1)
    taste = population.taste_strength * factors @ world.factors.T - variance / 2
    if population.own_taste:
        taste += population.own_taste * rng.standard_normal(taste.shape) - population.own_taste**2 / 2
    rate = np.exp(taste, out=taste)
    rate *= population.purchases_per_day * activity[:, None]
    rate *= world.popularity
    rhythm = rng.integers(0, len(world.effective_days), count)
    joins = np.where(rng.random(count) < population.cold_start, population.days * rng.uniform(0, 0.9, count), 0.0)
    begins = np.array([campaign.begins for campaign in world.campaigns])
    received = (rng.random((len(begins), count)) < population.campaign_share) & (joins < begins[:, None])
    # From a stream of its own, so that views change nothing else.
    spread = chunk_generator(population, chunk, 5).standard_normal(count) * population.browsing_spread
    curiosity = population.views_per_purchase * np.exp(spread - population.browsing_spread**2 / 2)
    return Customers(first, rate, rhythm, joins, received, curiosity)
