"""The views of one chunk of customers: looking at a category without buying, a Poisson process of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from propensity.simulation.customers import chunk_generator
from propensity.simulation.points import draw_points

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.simulation.customers import Customers
    from propensity.simulation.world import World


@dataclass(frozen=True, eq=False)
class Views:
    """Views of a chunk, in no order.

    Attributes:
        customer: Position in the chunk, int64, (n_views,).
        category: Number of the category, int64, (n_views,).
        day: Days since the start, float64, (n_views,).
    """

    customer: npt.NDArray[np.int64]
    category: npt.NDArray[np.int64]
    day: npt.NDArray[np.float64]


def views_per_purchase(world: World, customers: Customers) -> npt.NDArray[np.float64]:
    """Return m_ic, how many views a pair's expected purchase comes with, (n_customers, n_categories)."""
    views: npt.NDArray[np.float64] = customers.curiosity[:, None] * world.attraction
    return views


def make_views(world: World, customers: Customers, chunk: int) -> Views:
    """Draw a chunk's views over the whole simulated time; a population without views has none.

    Given the rates and the coupons they are independent of the purchases.
    """
    if not world.population.views_per_purchase:
        return Views(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    rng = chunk_generator(world.population, chunk, 6)
    points = draw_points(world, customers, views_per_purchase(world, customers), rng)
    customer, category = np.divmod(points.pair, len(world.popularity))
    return Views(customer, category, points.day)
