"""The purchases of one chunk of customers: hidden stages of a Poisson process, each k-th of them a purchase."""

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
class Purchases:
    """Purchases of a chunk, in the order of (customer, category, day).

    Attributes:
        customer: Position in the chunk, int64, (n_purchases,).
        category: Number of the category, int64, (n_purchases,).
        day: Days since the start, float64, (n_purchases,).
        lifted: Whether a coupon brought it, bool, (n_purchases,).
    """

    customer: npt.NDArray[np.int64]
    category: npt.NDArray[np.int64]
    day: npt.NDArray[np.float64]
    lifted: npt.NDArray[np.bool_]


def make_purchases(world: World, customers: Customers, chunk: int) -> Purchases:
    """Draw a chunk's purchases over the whole simulated time.

    A pair's hidden stages are a Poisson process of k_c times its rate; each k_c-th of them, from a random one on, is a
    purchase. So gaps are Erlang(k_c) in effective time and the process is stationary from the day the customer joins.
    """
    rng = chunk_generator(world.population, chunk, 1)
    stages = draw_points(world, customers, world.cycle, rng)
    n_categories = len(world.popularity)
    offset = (rng.random(customers.rate.shape) * world.cycle).astype(np.int64).ravel()
    order = np.lexsort((stages.day, stages.pair))
    pair, day, lifted = stages.pair[order], stages.day[order], stages.lifted[order]
    customer, category = np.divmod(pair, n_categories)
    if world.population.max_cycle == 1:
        return Purchases(customer, category, day, lifted)
    begins = np.flatnonzero(np.diff(pair, prepend=-1))
    number = np.arange(len(pair)) - np.repeat(begins, np.diff(begins, append=len(pair)))
    kept = (number + offset[pair] + 1) % world.cycle[category] == 0
    return Purchases(customer[kept], category[kept], day[kept], lifted[kept])
