"""Days begin at local midnight, also where the clocks change."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from propensity.errors import SettingsError, UnknownRegionError
from propensity.settings import Settings
from propensity.warehouse.catalogue_session import catalogue_session
from propensity.warehouse.regions import (
    check_region,
    check_timezone,
    ensure_region,
    local_days_later,
    local_midnight,
    parse_as_of,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2017-11-01", datetime(2017, 11, 1, 4, tzinfo=UTC)),
        ("2017-12-01", datetime(2017, 12, 1, 5, tzinfo=UTC)),
        ("2017-11-01T12:00:00Z", datetime(2017, 11, 1, 12, tzinfo=UTC)),
        ("2017-11-01T12:00:00+02:00", datetime(2017, 11, 1, 10, tzinfo=UTC)),
        ("2017-11-01T12:00", datetime(2017, 11, 1, 16, tzinfo=UTC)),
    ],
)
def test_an_as_of_is_a_local_midnight_or_an_instant(text: str, expected: datetime, settings: Settings) -> None:
    parsed = parse_as_of(text, settings)
    assert parsed == expected
    assert parsed.tzinfo is UTC


@pytest.mark.parametrize("text", ["", "yesterday", "2017-13-01", "2017-11-1", "01.11.2017"])
def test_other_texts_are_refused_with_an_example(text: str, settings: Settings) -> None:
    with pytest.raises(SettingsError, match="Give 2017-11-01"):
        parse_as_of(text, settings)


@pytest.mark.parametrize(
    ("start", "days", "hours"),
    [
        (date(2017, 11, 1), 30, 30 * 24 + 1),  # the clocks go back on 5 November
        (date(2017, 3, 1), 30, 30 * 24 - 1),  # and forward on 12 March
        (date(2017, 6, 1), 30, 30 * 24),
        (date(2017, 11, 5), 1, 25),
        (date(2017, 3, 12), 1, 23),
        (date(2017, 11, 10), -30, -30 * 24 - 1),
    ],
)
def test_local_days_end_at_local_midnight(start: date, days: int, hours: int, settings: Settings) -> None:
    as_of = local_midnight(start, settings)
    later = local_days_later(as_of, days, settings)
    assert later - as_of == timedelta(hours=hours)
    assert later == local_midnight(start + timedelta(days=days), settings)


def test_a_region_keeps_its_time_zone(settings: Settings) -> None:
    with pytest.raises(UnknownRegionError, match=r"Known: none yet.*propensity import"):
        check_region(settings)
    check_timezone(settings)
    with catalogue_session(settings) as session:
        ensure_region(session, settings)
        ensure_region(session, settings)
    check_region(settings)
    check_timezone(settings)
    elsewhere = settings.model_copy(update={"timezone": "Europe/Berlin"})
    with pytest.raises(SettingsError, match="PROPENSITY_TIMEZONE=America/New_York"):
        check_timezone(elsewhere)
    with pytest.raises(UnknownRegionError, match="Did you mean 'us'"):
        check_region(settings.model_copy(update={"region": "uss"}))
