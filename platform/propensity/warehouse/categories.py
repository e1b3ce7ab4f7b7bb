"""Label categories in the catalogue; an index, once given, stays with its category."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import select

from propensity.errors import UnknownCategoryError, did_you_mean
from propensity.warehouse.catalogue import Category
from propensity.warehouse.catalogue_session import catalogue_session

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from propensity.settings import Settings


@dataclass(frozen=True)
class Categories:
    """A region's categories; position i is `category_index` i.

    Attributes:
        names: Category names, (n_categories,).
        first_event_timestamp: When each was first acted in, UTC, (n_categories,).
    """

    names: tuple[str, ...]
    first_event_timestamp: tuple[datetime, ...]

    def __len__(self) -> int:
        """Return the number of categories."""
        return len(self.names)

    def index_of(self, category: str, region: str) -> int:
        """Return the category's index.

        Raises:
            UnknownCategoryError: The region has no such category; the message suggests the closest.
        """
        try:
            return self.names.index(category)
        except ValueError:
            raise UnknownCategoryError(
                f"{category!r} is not a category of region {region!r}.{did_you_mean(category, self.names)} "
                f"See: propensity categories --region {region}"
            ) from None


def load_categories(settings: Settings) -> Categories:
    """Return the region's categories in the order of their index. Read-only."""
    with catalogue_session(settings) as session:
        rows = session.execute(
            select(Category.category, Category.first_event_timestamp)
            .where(Category.region == settings.region)
            .order_by(Category.category_index)
        ).all()
    return Categories(tuple(row[0] for row in rows), tuple(row[1] for row in rows))


def add_categories(session: Session, region: str, seen: Iterable[tuple[str, datetime]]) -> int:
    """Give an index to each new category and keep the earliest sight of known ones; return how many are new.

    Runs within the caller's transaction. `seen` holds (category, first event_timestamp) in name order.
    """
    known = {row.category: row for row in session.scalars(select(Category).where(Category.region == region))}
    next_index = len(known)
    for category, first_event_timestamp in seen:
        if category not in known:
            session.add(
                Category(
                    region=region,
                    category_index=next_index,
                    category=category,
                    first_event_timestamp=first_event_timestamp,
                )
            )
            next_index += 1
        elif first_event_timestamp < known[category].first_event_timestamp:
            known[category].first_event_timestamp = first_event_timestamp
    return next_index - len(known)
