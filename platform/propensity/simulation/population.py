"""The parameters of a simulated population; together they name it and fix every one of its events."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Final

from propensity.errors import SettingsError
from propensity.warehouse.runs import fingerprint

VERSION: Final = 1
"""Of the generative model: raise it when the same parameters give other events."""

CHUNK_CELLS: Final = 1_000_000
"""Pairs, and expected events, of the customers that are simulated at once: what bounds the memory."""


@dataclass(frozen=True)
class Population:
    """What is simulated; the same values give byte-equal events. See `docs/simulation.md` for the formulas.

    Attributes:
        customers: How many.
        categories: How many.
        features: Distinct product types (at least one a category).
        days: Length of the simulated time, in days of 24 hours from `start`'s local midnight.
        seed: Of everything random.
        start: First local day.
        purchases_per_day: Mean purchases of a customer on a day, all categories together.
        activity_spread: Standard deviation of the logarithm of customers' activity.
        taste_rank: Latent factors of taste.
        taste_strength: Standard deviation of the logarithm of a rate that the factors give.
        own_taste: The same, of what belongs to the pair (customer, category) alone.
        zipf: Exponent of the popularity of categories, and of product types and items within one.
        weekend: Whether a third of the customers prefers weekends and another working days.
        max_cycle: Highest regularity of repeat purchases; 1 is a Poisson process, without memory.
        seasonality: Highest amplitude of a category's yearly wave in the logarithm of its rate.
        drift: Highest amplitude of a category's slow wave in the logarithm of its rate.
        campaigns_per_week: Campaigns, each of one category, that send coupons.
        campaign_share: Share of the customers that a campaign reaches.
        campaign_lift: What a coupon adds to a rate, as a multiple of it, while it is valid.
        campaign_days: How long that is.
        cold_start: Share of the customers that join later than the first day.
        new_categories: Share of the categories that open later than the first day.
        views_per_purchase: Mean views of a category for each purchase in it; 0 makes no views.
        browsing_spread: Standard deviation of the logarithm of how much more than others a customer views for each
            purchase, and of how much more than others a category is viewed.
    """

    customers: int = 1000
    categories: int = 100
    features: int = 1000
    days: int = 540
    seed: int = 7
    start: date = date(2023, 1, 1)
    purchases_per_day: float = 1.0
    activity_spread: float = 0.5
    taste_rank: int = 4
    taste_strength: float = 0.8
    own_taste: float = 0.4
    zipf: float = 0.9
    weekend: bool = True
    max_cycle: int = 3
    seasonality: float = 0.3
    drift: float = 0.3
    campaigns_per_week: float = 1.0
    campaign_share: float = 0.2
    campaign_lift: float = 2.0
    campaign_days: int = 14
    cold_start: float = 0.3
    new_categories: float = 0.05
    views_per_purchase: float = 0.0
    browsing_spread: float = 0.5

    def __post_init__(self) -> None:
        """Raise SettingsError where a value is out of range."""
        for name, least, most in LIMITS:
            value = getattr(self, name)
            if not least <= value <= most:
                raise SettingsError(f"{flag(name)} {value} is out of range. Give {least:,} to {most:,}.")
        if self.features < self.categories:
            raise SettingsError(
                f"--features {self.features} is below --categories {self.categories}: every category has a product "
                f"type. Give {self.categories} or more."
            )

    @property
    def name(self) -> str:
        """12 hex digits that name the parameters."""
        return fingerprint(VERSION, self._parameters())

    @property
    def chunk_customers(self) -> int:
        """Customers that are simulated at once. Depends on the parameters alone: each chunk has its own seed."""
        points = self.purchases_per_day * self.days * ((1 + self.max_cycle) / 2 + self.views_per_purchase)
        return max(1, min(self.customers, int(CHUNK_CELLS / max(self.categories, points))))

    @property
    def chunks(self) -> int:
        """How many chunks there are."""
        return -(-self.customers // self.chunk_customers)

    def to_json(self) -> str:
        """Return the parameters as JSON text."""
        return json.dumps(self._parameters(), default=str, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Population:
        """Read what `to_json` returned."""
        values: dict[str, Any] = json.loads(text)
        return cls(**(values | {"start": date.fromisoformat(values["start"])}))

    def _parameters(self) -> dict[str, Any]:
        """Return what fixes the events: a population without views has the name it had before there were any."""
        values = asdict(self)
        return values if self.views_per_purchase else {name: values[name] for name in values if name not in OF_VIEWS}


LIMITS: Final = (
    ("customers", 1, 99_999_999),
    ("categories", 1, 99_999),
    ("features", 1, 9_999_999),
    ("days", 2, 3650),
    ("seed", 0, 2**63),
    ("purchases_per_day", 0.001, 100),
    ("activity_spread", 0, 3),
    ("taste_rank", 1, 64),
    ("taste_strength", 0, 3),
    ("own_taste", 0, 3),
    ("zipf", 0, 3),
    ("max_cycle", 1, 8),
    ("seasonality", 0, 3),
    ("drift", 0, 3),
    ("campaigns_per_week", 0, 1000),
    ("campaign_share", 0, 1),
    ("campaign_lift", 0, 50),
    ("campaign_days", 1, 365),
    ("cold_start", 0, 1),
    ("new_categories", 0, 0.9),
    ("views_per_purchase", 0, 100),
    ("browsing_spread", 0, 3),
)
"""Least and most of each number."""

OF_VIEWS: Final = ("views_per_purchase", "browsing_spread")

STEADY: Final[dict[str, Any]] = {
    "taste_rank": 3,
    "taste_strength": 0.7,
    "own_taste": 0.0,
    "weekend": False,
    "max_cycle": 1,
    "seasonality": 0.0,
    "drift": 0.0,
    "campaigns_per_week": 0.0,
    "cold_start": 0.0,
    "new_categories": 0.0,
}
"""Nothing changes, nothing has a memory: what counts alone can tell, given enough of them."""


def population(*, steady: bool = False, **given: Any) -> Population:
    """Return the population of these parameters; those that are None have their default, or `STEADY`'s.

    Raises:
        SettingsError: A value is out of range.
    """
    return Population(**((STEADY if steady else {}) | {name: each for name, each in given.items() if each is not None}))


def flag(name: str) -> str:
    """Return the flag of a parameter, e.g. `--cold-start`."""
    return f"--{name.replace('_', '-')}"
