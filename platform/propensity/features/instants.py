"""Instants as the builders use them: UTC, each once, in time order, exact to the microsecond."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from propensity.errors import SettingsError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instants(as_ofs: Iterable[datetime]) -> list[datetime]:
    """Return the as_ofs in UTC, each once, rising.

    Raises:
        SettingsError: One has no time zone.
    """
    distinct = set()
    for as_of in as_ofs:
        if as_of.tzinfo is None:
            raise SettingsError(
                f"as_of {as_of.isoformat()} has no time zone. Give one, e.g. {as_of.isoformat()}+00:00, "
                "or read a local day with parse_as_of."
            )
        distinct.add(as_of.astimezone(UTC))
    return sorted(distinct)


def microseconds(instant: datetime) -> int:
    """Return the microseconds since 1970 in UTC, exactly; `datetime.timestamp()` is a float and may be one off."""
    return (instant - _EPOCH) // timedelta(microseconds=1)
