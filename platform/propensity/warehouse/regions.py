"""Regions in the catalogue, and the instants at which their days begin."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import select

from propensity.errors import SettingsError, UnknownRegionError, did_you_mean
from propensity.warehouse.catalogue import Region
from propensity.warehouse.catalogue_session import catalogue_session

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from propensity.settings import Settings


def ensure_region(session: Session, settings: Settings) -> None:
    """Add the settings' region to the catalogue unless it is there, within the caller's transaction.

    Raises:
        SettingsError: The region is there with another time zone: its days would begin at other instants.
    """
    known = session.get(Region, settings.region)
    if known is None:
        session.add(Region(region=settings.region, timezone=settings.timezone, created_timestamp=datetime.now(UTC)))
    else:
        _check_same(known, settings)


def check_timezone(settings: Settings) -> None:
    """Raise if the settings' region is there with another time zone. Read-only.

    Raises:
        SettingsError: See `ensure_region`.
    """
    with catalogue_session(settings) as session:
        known = session.get(Region, settings.region)
        if known is not None:
            _check_same(known, settings)


def check_region(settings: Settings) -> None:
    """Raise unless the settings' region has been imported. Read-only.

    Raises:
        UnknownRegionError: It has not; the message lists those that have.
    """
    with catalogue_session(settings) as session:
        known = sorted(session.scalars(select(Region.region)))
    if settings.region not in known:
        raise UnknownRegionError(
            f"Unknown region {settings.region!r}.{did_you_mean(settings.region, known)} "
            f"Known: {', '.join(known) or 'none yet'}. Import its events first: propensity import --help"
        )


def local_midnight(day: date, settings: Settings) -> datetime:
    """Return the UTC instant at which the region's day begins."""
    return datetime(day.year, day.month, day.day, tzinfo=settings.zone).astimezone(UTC)


def parse_as_of(text: str, settings: Settings) -> datetime:
    """Read `2017-11-01` as local midnight, or an ISO instant such as `2017-11-01T12:00:00Z`; return it in UTC.

    Raises:
        SettingsError: The text is neither.
    """
    try:
        if len(text) == len("2017-11-01"):
            return local_midnight(date.fromisoformat(text), settings)
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(
            f"{text!r} is no date and no instant. Give 2017-11-01 (midnight in {settings.timezone}) "
            "or 2017-11-01T12:00:00Z."
        ) from error
    return (instant if instant.tzinfo else instant.replace(tzinfo=settings.zone)).astimezone(UTC)


def local_days_later(as_of: datetime, days: int, settings: Settings) -> datetime:
    """Return the instant `days` local days after `as_of`, at the same local time of day.

    Around a clock change that is an hour more or less than `days` times 24 hours.
    """
    return (as_of.astimezone(settings.zone) + timedelta(days=days)).astimezone(UTC)


def _check_same(known: Region, settings: Settings) -> None:
    if known.timezone != settings.timezone:
        raise SettingsError(
            f"Region {settings.region!r} was imported with time zone {known.timezone!r}, not {settings.timezone!r}. "
            f"Set PROPENSITY_TIMEZONE={known.timezone}."
        )
