"""Items and customers: the newest row wins, and rows that say nothing new are not stored again."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from propensity import columns
from propensity.errors import InputError
from propensity.settings import Settings
from propensity.warehouse.connection import lake_connection
from propensity.warehouse.customer_attributes import import_customers_from
from propensity.warehouse.import_result import ImportResult
from propensity.warehouse.items import create_items_view, import_items_from
from propensity.warehouse.lake import Lake
from propensity.warehouse.runs import list_runs
from tests.warehouse.tables import files, quarantine


def import_text(settings: Settings, directory: Path, text: str) -> ImportResult:
    file = directory / "items.csv"
    file.write_text(text)
    return import_items_from(settings, str(file))


def current_items(settings: Settings) -> list[tuple[Any, ...]]:
    with lake_connection(settings) as connection:
        create_items_view(settings, connection)
        return connection.execute("FROM items ORDER BY item_id").fetchall()


def attributes(settings: Settings) -> list[tuple[Any, ...]]:
    found = [str(file) for file in Lake(settings.lake).files(columns.CUSTOMERS, settings.region)]
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(
            f"SELECT customer_id, attribute, value, created_timestamp FROM read_parquet({found}) ORDER BY ALL"
        ).fetchall()


def test_items_without_an_import_are_an_empty_typed_view(settings: Settings) -> None:
    assert current_items(settings) == []
    with lake_connection(settings) as connection:
        create_items_view(settings, connection)
        assert [(name, kind) for name, kind, *_ in connection.execute("DESCRIBE items").fetchall()] == [
            ("item_id", "VARCHAR"),
            ("category", "VARCHAR"),
            ("product_type", "VARCHAR"),
            ("department", "VARCHAR"),
            ("brand", "VARCHAR"),
            ("excluded", "BOOLEAN"),
        ]


def test_a_later_row_wins_and_the_same_rows_change_nothing(settings: Settings, tmp_path: Path) -> None:
    first = "item_id,category,brand\n1, WINE ,Spar\n2,BEER,\n"
    assert import_text(settings, tmp_path, first).run.rows == 2
    before = files(settings)
    assert import_text(settings, tmp_path, first).already_imported
    assert files(settings) == before
    changed = import_text(settings, tmp_path, "item_id,category,excluded\n2,LAGER,no\n3,VOUCHERS,yes\n")
    assert changed.run.rows == 2
    assert current_items(settings) == [
        ("1", "WINE", None, None, "Spar", False),
        ("2", "LAGER", None, None, None, False),
        ("3", "VOUCHERS", None, None, None, True),
    ]
    back = import_text(settings, tmp_path, first)
    assert (back.run.rows, back.run.detail["unchanged"], back.already_imported) == (1, 1, False)
    assert current_items(settings)[1][1] == "BEER"
    assert import_text(settings, tmp_path, first).already_imported


def test_bad_items_are_set_aside_and_the_last_line_of_an_item_stands(settings: Settings, tmp_path: Path) -> None:
    tolerant = settings.model_copy(update={"max_bad_row_share": 0.9})
    text = "item_id,category,excluded\n1,WINE,\n,BEER,\n1,PORT,\n2,GIN,perhaps\n3\n1,WHISKY,perhaps\n"
    result = import_text(tolerant, tmp_path, text)
    assert [row[:3] for row in quarantine(settings, result.run.run_id)] == [
        ("items.csv", 2, "duplicate_item"),
        ("items.csv", 3, "missing_item"),
        ("items.csv", 5, "bad_flag"),
        ("items.csv", 6, "unreadable_line"),
        ("items.csv", 7, "bad_flag"),
    ]
    assert current_items(settings) == [("1", "PORT", None, None, None, False)]
    with pytest.raises(InputError, match="--column category=THEIRS"):
        import_text(settings, tmp_path, "item_id,brand\n1,Spar\n")


def test_customers_bring_every_further_column_as_an_attribute(settings: Settings, tmp_path: Path) -> None:
    tolerant = settings.model_copy(update={"max_bad_row_share": 0.9})
    file = tmp_path / "customers.csv"
    file.write_text(
        "id,since,age,Home town\nc1,2017-01-01,34,Ulm\nc2,,,\n,,1,\nc3,long ago,1,\nc4,2099-01-01,1,\n"
        "c1,2017-01-01,35,Ulm\nc1,2017-06-01,36,\n"
    )
    names = {"customer_id": "id", "created_timestamp": "since"}
    result = import_customers_from(tolerant, str(file), timezone="Europe/Berlin", column_names=names)
    winter, summer = datetime(2016, 12, 31, 23, tzinfo=UTC), datetime(2017, 5, 31, 22, tzinfo=UTC)
    expected = [("c1", "Home town", "Ulm", winter), ("c1", "age", "35", winter), ("c1", "age", "36", summer)]
    assert attributes(settings) == expected
    assert [row[1:3] for row in quarantine(settings, result.run.run_id)] == [
        (2, "duplicate_customer"),
        (4, "missing_customer"),
        (5, "bad_created_timestamp"),
        (6, "future_timestamp"),
    ]
    assert import_customers_from(tolerant, str(file), timezone="Europe/Berlin", column_names=names).already_imported
    assert attributes(settings) == expected
    assert [run.kind for run in list_runs(settings)] == ["attributes"]
    file.write_text("customer_id,created_timestamp\nc1,2017-01-01\n")
    with pytest.raises(InputError, match="has no attribute"):
        import_customers_from(settings, str(file))
