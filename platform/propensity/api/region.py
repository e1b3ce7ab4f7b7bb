"""One region of one home: its settings, and what a date means there."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from propensity.errors import SettingsError
from propensity.settings import Settings, load_settings
from propensity.warehouse.migration import migrate
from propensity.warehouse.regions import local_days_later, local_midnight, parse_as_of
from propensity.warehouse.sql_views import refresh_views

if TYPE_CHECKING:
    pass

AsOf = str | date | datetime
"""A date means midnight in the region's time zone; a datetime without a zone is the region's local time."""


class Region:
    """One region of one home."""

    def __init__(self, settings: Settings | None = None, **options: Any) -> None:
        """Take settings as they are, or load them with `options` (`home=`, `region=` …) on top.

        Raises:
            SettingsError: An option is unknown or out of range.
        """
        self.settings = settings or load_settings(**options)

    def as_of(self, value: AsOf) -> datetime:
        """Return the instant that `value` means, in UTC."""
        if isinstance(value, datetime):
            return parse_as_of(value.isoformat(), self.settings)
        return local_midnight(value, self.settings) if isinstance(value, date) else parse_as_of(value, self.settings)

    def as_ofs(self, first: AsOf, last: AsOf, *, every_days: int | None = None) -> list[datetime]:
        """Return the instants from `first` to `last`, by default `snapshot_every_days` local days apart.

        Raises:
            SettingsError: `first` is after `last`.
        """
        instant, end = self.as_of(first), self.as_of(last)
        if instant > end:
            raise SettingsError(f"{first} is after {last}. Give the earlier one first.")
        series = []
        while instant <= end:
            series.append(instant)
            instant = local_days_later(instant, every_days or self.settings.snapshot_every_days, self.settings)
        return series

    def migrate(self) -> None:
        """Create the catalogue or bring it to this version's schema, and its SQL views to this version's."""
        migrate(self.settings)
        refresh_views(self.settings)

    @property
    def home(self) -> Path:
        """Directory of lake, catalogue, models and Feast's stores."""
        return self.settings.home
