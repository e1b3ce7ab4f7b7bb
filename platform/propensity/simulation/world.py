"""What all customers share: categories, their popularity and course over time, and the retailer's campaigns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.simulation.population import Population

RHYTHMS: Final = np.array([[1.0] * 7, [0.55] * 5 + [2.125] * 2, [1.3] * 5 + [0.25] * 2])
"""Rates of the days Monday to Sunday, of mean 1: even, weekends, working days."""
YEAR: Final = 365.25
CAMPAIGN_GAP_DAYS: Final = 45
"""Least time from the end of a category's campaign to the start of its next."""
ITEMS_PER_TYPE: Final = 8


@dataclass(frozen=True)
class Campaign:
    """Coupons for one category. Times in days since the start.

    Attributes:
        number: Its position in time order.
        category: Number of the category.
        begins: When customers receive it.
        ends: When it is no longer valid.
    """

    number: int
    category: int
    begins: float
    ends: float


@dataclass(frozen=True, eq=False)
class World:
    """What all customers share; fixed by the population's parameters.

    Attributes:
        population: The parameters.
        popularity: Share of the purchases, falling with the number, float64, (n_categories,).
        factors: v_c, float64, (n_categories, taste_rank).
        cycle: k_c, regularity of repeat purchases, int64, (n_categories,).
        opens: First day, 0 for most, int64, (n_categories,).
        effective_days: F_gc(d), days since the start weighed by season, drift, weekly rhythm and opening, float64,
            (n_rhythms, n_categories, days + 1).
        campaigns: In time order.
        types: Product types of each category, int64, (n_categories,).
        first_type: Number of each category's first one, int64, (n_categories,).
        price: Of each category, float64, (n_categories,).
        attraction: h_c, how much more than others each category is viewed, of mean 1 in expectation, float64,
            (n_categories,).
    """

    population: Population
    popularity: npt.NDArray[np.float64]
    factors: npt.NDArray[np.float64]
    cycle: npt.NDArray[np.int64]
    opens: npt.NDArray[np.int64]
    effective_days: npt.NDArray[np.float64]
    campaigns: tuple[Campaign, ...]
    types: npt.NDArray[np.int64]
    first_type: npt.NDArray[np.int64]
    price: npt.NDArray[np.float64]
    attraction: npt.NDArray[np.float64]

    def elapsed(
        self, rhythm: npt.NDArray[np.int64], category: npt.NDArray[np.int64], day: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Return F_gc(t), effective days from the start to `day`; the arguments are broadcast."""
        whole = np.minimum(day.astype(np.int64), self.population.days - 1)
        before = self.effective_days[rhythm, category, whole]
        rate = self.effective_days[rhythm, category, whole + 1] - before
        elapsed: npt.NDArray[np.float64] = before + (day - whole) * rate
        return elapsed

    @cached_property
    def _rows_after_another(self) -> tuple[float, npt.NDArray[np.float64]]:
        """The step and effective_days as one rising array, each row a step past the one before: one search does."""
        width = self.effective_days.shape[2]
        step = float(self.effective_days[..., -1].max()) + 1
        rows = self.effective_days.reshape(-1, width)
        return step, (rows + step * np.arange(len(rows))[:, None]).ravel()

    def day_at(
        self, rhythm: npt.NDArray[np.int64], category: npt.NDArray[np.int64], effective: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Return the inverse of `elapsed`; where F is flat, the flat stretch's end."""
        row = rhythm * self.effective_days.shape[1] + category
        width = self.effective_days.shape[2]
        step, flat = self._rows_after_another
        found = np.searchsorted(flat, effective + step * row, side="right") - 1 - row * width
        whole = np.clip(found, 0, width - 2)
        before = self.effective_days[rhythm, category, whole]
        rate = self.effective_days[rhythm, category, whole + 1] - before
        part = np.divide(effective - before, rate, out=np.zeros_like(effective), where=rate > 0)
        day: npt.NDArray[np.float64] = whole + np.clip(part, 0, np.nextafter(1.0, 0.0))
        return day


def make_world(population: Population) -> World:
    """Draw the world of a population: a few numbers a category, and `effective_days`."""
    rng = np.random.default_rng(np.random.SeedSequence([population.seed, 0]))
    count = population.categories
    rank = np.arange(1, count + 1, dtype=np.float64)
    popularity = rank**-population.zipf / (rank**-population.zipf).sum()
    factors = rng.standard_normal((count, population.taste_rank)) / np.sqrt(population.taste_rank)
    cycle = rng.integers(1, population.max_cycle + 1, count)
    opens = np.zeros(count, np.int64)
    late = rng.choice(count, int(population.new_categories * count), replace=False)
    opens[late] = (population.days * rng.uniform(0.3, 0.8, len(late))).astype(np.int64)
    types = np.full(count, population.features // count)
    types[: population.features % count] += 1
    return World(
        population=population,
        popularity=popularity,
        factors=factors,
        cycle=cycle,
        opens=opens,
        effective_days=_effective_days(population, opens, rng),
        campaigns=_campaigns(population, popularity, opens, rng),
        types=types,
        first_type=np.cumsum(types) - types,
        price=np.exp(rng.normal(1.0, 0.6, count)),
        attraction=_attraction(population),
    )


def _attraction(population: Population) -> npt.NDArray[np.float64]:
    # From a seed of its own, so that views change nothing else.
    rng = np.random.default_rng(np.random.SeedSequence([population.seed, 0, 1]))
    spread = population.browsing_spread
    attraction: npt.NDArray[np.float64] = np.exp(rng.normal(-(spread**2) / 2, spread, population.categories))
    return attraction


def _effective_days(
    population: Population, opens: npt.NDArray[np.int64], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    count, days = population.categories, np.arange(population.days)
    season, season_phase, drift, drift_phase = rng.random((4, count, 1))
    length = 2 * YEAR * rng.uniform(0.8, 1.6, (count, 1))
    wave = population.seasonality * season * np.cos(2 * np.pi * (days / YEAR - season_phase))
    wave += population.drift * drift * np.cos(2 * np.pi * (days / length - drift_phase))
    shape = np.exp(wave) * (days >= opens[:, None])
    first_weekday = population.start.weekday()
    weights = RHYTHMS[: 3 if population.weekend else 1, (first_weekday + days) % 7]
    effective = np.zeros((len(weights), count, population.days + 1))
    np.cumsum(weights[:, None, :] * shape, axis=2, out=effective[..., 1:])
    return effective


def _campaigns(
    population: Population, popularity: npt.NDArray[np.float64], opens: npt.NDArray[np.int64], rng: np.random.Generator
) -> tuple[Campaign, ...]:
    wanted = int(population.campaigns_per_week * population.days / 7)
    begins = np.sort(rng.uniform(0, population.days, wanted)).astype(np.int64) + 0.375  # at nine in the morning
    free_from = opens.astype(np.float64)
    found: list[Campaign] = []
    for begin in begins:
        weights = np.sqrt(popularity) * (free_from <= begin)
        if not weights.any():
            continue
        category = int(rng.choice(len(weights), p=weights / weights.sum()))
        end = min(begin + population.campaign_days, float(population.days))
        free_from[category] = end + CAMPAIGN_GAP_DAYS
        found.append(Campaign(len(found), category, float(begin), end))
    return tuple(found)


def category_name(number: int) -> str:
    """Return the name of a category, e.g. `CATEGORY 00012`."""
    return f"CATEGORY {number:05d}"


def last_day(population: Population) -> str:
    """Return the first local day that isn't simulated any more, e.g. `2024-06-24`."""
    return (population.start + timedelta(days=population.days)).isoformat()
