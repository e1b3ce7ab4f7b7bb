"""The true propensities of a chunk's customers, given all that is latent and all that happened before an as_of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import factorial
from typing import TYPE_CHECKING, Final

import numpy as np

from propensity.simulation.customers import make_customers
from propensity.simulation.events import instants, microseconds
from propensity.simulation.purchases import make_purchases
from propensity.simulation.views import make_views, views_per_purchase

if TYPE_CHECKING:
    from datetime import datetime

    import numpy.typing as npt

    from propensity.simulation.customers import Customers
    from propensity.simulation.purchases import Purchases
    from propensity.simulation.views import Views
    from propensity.simulation.world import Campaign, World

DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Window:
    """A label window.

    Attributes:
        start: Instant at which day 0 begins.
        as_of: Start of the window.
        end: Its end.
    """

    start: datetime
    as_of: datetime
    end: datetime

    @property
    def days(self) -> tuple[float, float]:
        """The window in days since the start."""
        first, last = ((instant - self.start).total_seconds() / DAY_SECONDS for instant in (self.as_of, self.end))
        return first, last


@dataclass(frozen=True, eq=False)
class ChunkTruth:
    """True propensities of those customers of a chunk who bought or viewed something before the as_of.

    Attributes:
        customer_id: str, (n_customers,).
        at_least: Probability of class k or a higher one, k = 1 .. K - 1, by number of the category, float32,
            (n_customers, K - 1, n_categories).
        labels: The class of what they did in the window, int8, (n_customers, n_categories).
    """

    customer_id: npt.NDArray[np.str_]
    at_least: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int8]

    @property
    def propensities(self) -> npt.NDArray[np.float32]:
        """Probability of a class above 0, (n_customers, n_categories)."""
        return self.at_least[:, 0]


EVENT_TYPES: Final = ("purchase", "view")
"""What is simulated of what a label may be of."""


def truth_of_chunk(world: World, chunk: int, window: Window, event_types: Sequence[str] = ("purchase",)) -> ChunkTruth:
    """Return the exact probability that each known customer acts in each category in the window.

    Known to it are tastes, rates, seasons, drift and the campaigns' calendar, and of what happened all before the
    as_of; not who will receive the campaigns that begin in the window. See `docs/simulation.md`.

    Args:
        world: What customers share.
        chunk: 0 .. population.chunks - 1.
        window: The label window.
        event_types: Of EVENT_TYPES; the i-th makes class i, and the highest class in the window wins.
    """
    customers = make_customers(world, chunk)
    purchases, views = make_purchases(world, customers, chunk), make_views(world, customers, chunk)
    shape = customers.rate.shape
    labels = np.zeros(shape, np.int8)
    known = np.zeros(len(customers), bool)
    before: dict[str, npt.NDArray[np.bool_]] = {}
    acts: dict[str, Purchases | Views] = {"purchase": purchases, "view": views}
    for event_type, found in acts.items():
        when = instants(found.day, window.start)
        before[event_type] = when < microseconds(window.as_of)
        known[found.customer[before[event_type]]] = True
        if event_type in event_types:
            inside = ~before[event_type] & (when < microseconds(window.end))
            where = found.customer[inside], found.category[inside]
            labels[where] = np.maximum(labels[where], event_types.index(event_type) + 1)
    last = np.full(shape, -1.0)
    earlier = before["purchase"]
    # Purchases are in time order within a pair: the last assignment stands.
    last[purchases.customer[earlier], purchases.category[earlier]] = purchases.day[earlier]
    at_least = _at_least(world, customers, last, window, event_types)
    return ChunkTruth(customers.names[known], at_least[known].astype(np.float32), labels[known])


def _at_least(
    world: World,
    customers: Customers,
    last: npt.NDArray[np.float64],
    window: Window,
    event_types: Sequence[str] = ("purchase",),
) -> npt.NDArray[np.float64]:
    """Return the probabilities of class k or a higher one, (n_customers, K - 1, n_categories).

    Args:
        last: Day of each pair's last purchase, -1 where there was none, (n_customers, n_categories).
    """
    as_of, end = window.days
    rhythm, everything = customers.rhythm[:, None], np.arange(len(world.popularity))
    since = np.where(last >= 0, last, customers.joins[:, None]).clip(max=as_of)
    now = world.elapsed(rhythm, everything, np.full((1, 1), as_of))
    age = now - world.elapsed(rhythm, everything, since)
    ahead = world.elapsed(rhythm, everything, np.full((1, 1), end)) - now
    coming: dict[int, list[Campaign]] = {}
    for campaign in world.campaigns:
        category = campaign.category
        reached = customers.received[campaign.number]
        lift = world.population.campaign_lift * reached
        if campaign.begins < as_of:
            age[:, category] += lift * _overlap(world, customers, campaign, since[:, category], as_of)
            ahead[:, category] += lift * _overlap(world, customers, campaign, np.full(len(customers), as_of), end)
        elif campaign.begins < end:
            coming.setdefault(category, []).append(campaign)
    age *= customers.rate
    ahead *= customers.rate
    bought, viewing = last >= 0, views_per_purchase(world, customers)

    def nothing_of(kinds: Sequence[str], column: slice, still: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return P(none of these event types), given how far the columns' processes run in the window."""
        chance = np.ones_like(still)
        if "purchase" in kinds:
            chance *= _no_purchase(world.cycle[column], age[:, column], still, bought[:, column])
        if "view" in kinds:
            # Given the coupons, views are a Poisson process that knows nothing of the purchases.
            chance *= np.exp(-viewing[:, column] * still)
        return chance

    # A class of at least k means an event of the k-th type or one after it.
    kinds_from = [event_types[first:] for first in range(len(event_types))]
    nothing = np.stack([nothing_of(kinds, slice(None), ahead) for kinds in kinds_from], axis=1)
    for category, campaigns in coming.items():
        column = slice(category, category + 1)
        mixed = np.zeros((len(customers), len(kinds_from)))
        for reached_by in product((False, True), repeat=len(campaigns)):
            weight, more = np.ones(len(customers)), ahead[:, column].copy()
            for campaign, reached in zip(campaigns, reached_by, strict=True):
                share = np.where(customers.joins < campaign.begins, world.population.campaign_share, 0.0)
                weight = weight * (share if reached else 1 - share)
                extra = _overlap(world, customers, campaign, np.full(len(customers), as_of), end)
                more[:, 0] += reached * world.population.campaign_lift * customers.rate[:, category] * extra
            mixed += weight[:, None] * np.hstack([nothing_of(kinds, column, more) for kinds in kinds_from])
        nothing[:, :, category] = mixed
    at_least: npt.NDArray[np.float64] = 1 - nothing
    return at_least


def _overlap(
    world: World, customers: Customers, campaign: Campaign, first: npt.NDArray[np.float64], last: float
) -> npt.NDArray[np.float64]:
    """Return the effective days that a campaign and [first, last] share, for each customer."""
    category = np.full(len(customers), campaign.category)
    begins = np.clip(campaign.begins, first, last)
    ends = np.clip(campaign.ends, first, last)
    return world.elapsed(customers.rhythm, category, ends) - world.elapsed(customers.rhythm, category, begins)


def _no_purchase(
    cycle: npt.NDArray[np.int64],
    age: npt.NDArray[np.float64],
    ahead: npt.NDArray[np.float64],
    bought: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float64]:
    """Return P(no purchase while the process runs on by `ahead` | none in the `age` it ran since the last one).

    The survival function of Erlang(k) with mean 1 is exp(-kx) sum over m < k of (kx)^m / m!; of the time from an
    arbitrary instant to the first purchase it is exp(-kx) sum over m < k of (1 - m/k) (kx)^m / m!  (Cox, Renewal
    Theory, 1962, sections 2.2 and 5.2). The exponentials are divided by hand: each alone underflows.

    Args:
        cycle: k of each column, (n_columns,).
        age: (n_customers, n_columns), in expected purchases, as `ahead`.
        ahead: (n_customers, n_columns).
        bought: Whether there was a purchase to count from, (n_customers, n_columns).
    """
    then, now = cycle * age, cycle * (age + ahead)
    survived, survives = np.zeros_like(age), np.zeros_like(age)
    for m in range(int(cycle.max())):
        weight = np.where(bought, 1.0, 1 - m / cycle) * (m < cycle) / factorial(m)
        survived += weight * then**m
        survives += weight * now**m
    return np.exp(-cycle * ahead) * survives / survived
