"""Importing from databases through SQLAlchemy."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from propensity.errors import PropensityError
from propensity.progress import silent
from propensity.settings import Settings
from propensity.warehouse import sql_queries
from propensity.warehouse.event_sources import import_events_from
from tests.warehouse.tables import events, quarantine

URL = "sqlite:///{}"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    file = tmp_path / "shop.db"
    connection = sqlite3.connect(file)
    connection.executescript("""
        CREATE TABLE sales (customer_id INTEGER, event_timestamp TEXT, category TEXT, value REAL);
        INSERT INTO sales VALUES (1, '2017-05-01 12:00:00', 'WINE', 2.5), (2, '2017-05-02', 'BEER', 'free'),
                                 (3, '2017-05-03T00:00:00+02:00', '50% off: x', 3);
        CREATE VIEW recent AS SELECT * FROM sales WHERE customer_id > 1;
        CREATE TABLE secrets (n INTEGER);
    """)
    connection.close()
    return file


def test_a_table_is_imported_with_row_numbers(settings: Settings, shop: Path) -> None:
    tolerant = settings.model_copy(update={"max_bad_row_share": 0.5})
    result = import_events_from(tolerant, URL.format(shop), table="sales")
    [(name, line, reason, raw)] = quarantine(settings, result.run.run_id)
    assert (name, line, reason, json.loads(raw)["value"]) == ("sqlite:sales", 2, "bad_number", "free")
    assert events(settings, "customer_id, event_timestamp, category, value") == [
        ("1", datetime(2017, 5, 1, 12, tzinfo=UTC), "WINE", 2.5),
        ("3", datetime(2017, 5, 2, 22, tzinfo=UTC), "50% off: x", 3.0),
    ]
    assert import_events_from(tolerant, URL.format(shop), table="sales").already_imported


def test_a_query_is_passed_on_as_it_is_written(settings: Settings, shop: Path) -> None:
    query = "SELECT * FROM sales WHERE category LIKE '50% off: x' AND event_timestamp > '2017-05-02 :zero'"
    assert import_events_from(settings, URL.format(shop), query=query).run.rows == 1


def test_other_databases_and_schemas(settings: Settings, tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "dwh.duckdb")) as connection:
        connection.execute("""
            CREATE SCHEMA mart;
            CREATE TABLE mart.sales AS
            SELECT 'c1' AS customer_id, TIMESTAMP '2017-05-01 12:00:00' AS event_timestamp, 'WINE' AS category
        """)
    import_events_from(settings, f"duckdb:///{tmp_path / 'dwh.duckdb'}", table="mart.sales", timezone="Europe/Berlin")
    assert events(settings, "event_timestamp") == [(datetime(2017, 5, 1, 10, tzinfo=UTC),)]


def test_rows_are_fetched_in_pieces(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_queries, "BATCH_ROWS", 2)
    batches = list(sql_queries.sql_batches(URL.format(shop), query=None, table_name="sales", progress=silent))
    assert [batch.num_rows for batch in batches] == [2, 1]
    assert [line for batch in batches for line in batch["__source_line"].to_pylist()] == [1, 2, 3]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        ("x", "x"),
        (3, "3"),
        (2.5, "2.5"),
        (Decimal("1E+2"), "1E+2"),
        (True, "true"),
        (date(2017, 5, 1), "2017-05-01"),
        (datetime(2017, 5, 1, 12), "2017-05-01T12:00:00"),
        (datetime(2017, 5, 1, 12, tzinfo=timezone(timedelta(hours=2))), "2017-05-01T12:00:00+02:00"),
        (b"ab\xff", "ab\\xff"),
    ],
)
def test_values_become_text_that_the_checks_can_read(value: object, text: str | None) -> None:
    assert sql_queries._as_text([value]) == [text]


@pytest.mark.parametrize(
    ("url", "options", "words"),
    [
        ("sqlite:///{shop}", {}, ["Tables: recent, sales, secrets", "--table NAME or --query SQL"]),
        ("sqlite:///{shop}", {"table": "sale"}, ["has no table 'sale'", "Did you mean 'sales'"]),
        ("sqlite:///{shop}", {"table": "sales", "query": "SELECT 1"}, ["either a table or a query"]),
        ("sqlite:///{shop}", {"query": "SELEKT 1"}, ["the query fails", "SELEKT", "--query"]),
        ("sqlite:///{shop}", {"query": "CREATE TABLE t (n)"}, ["Give a SELECT"]),
        ("sqlite:///{shop}", {"query": "SELECT 1 AS a, 2 AS a"}, ["twice"]),
        ("sqlite:///{shop}", {"query": "SELECT * FROM sales WHERE false"}, ["has no rows"]),
        ("sqlite:///{shop}", {"table": "secrets"}, ["has no rows"]),
        ("sqlite:///{shop}.missing", {"table": "sales"}, ["There is no database file"]),
        ("sqlite:///{garbage}", {"table": "sales"}, ["file is not a database"]),
        ("postgresql+nodriver://me:secret@localhost/x", {"table": "sales"}, ["no database URL that SQLAlchemy knows"]),
        ("postgresql+psycopg2://me:secret@localhost:1/x", {"table": "sales"}, ["psycopg2"]),
        ("nonsense://x", {"table": "sales"}, ["nonsense://…", "sqlite:///shop.db"]),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(
    url: str, options: dict[str, Any], words: list[str], settings: Settings, shop: Path
) -> None:
    garbage = shop.with_name("garbage.db")
    garbage.write_bytes(b"no database " * 1000)
    with pytest.raises(PropensityError) as error:
        import_events_from(settings, url.format(shop=shop, garbage=garbage), **options)
    message = str(error.value)
    assert "\n" not in message
    assert "secret@" not in message
    for word in words:
        assert word in message
    assert not Path(f"{shop}.missing").exists()
