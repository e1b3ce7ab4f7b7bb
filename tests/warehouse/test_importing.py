"""Importing a user's own events: what gets in, what is set aside and why, and what a repetition changes."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from propensity.errors import InputError, PropensityError, SettingsError, TooManyBadRowsError, WarehouseSchemaError
from propensity.features.events import event_imports
from propensity.settings import Settings, load_settings
from propensity.warehouse.categories import load_categories
from propensity.warehouse.event_sources import import_events_from
from propensity.warehouse.quarantine import BAD_REASONS, OTHER_REASONS
from propensity.warehouse.runs import list_runs
from tests.warehouse.event_texts import GOOD, HEADER, import_items, import_text
from tests.warehouse.tables import events, files, quarantine

DIRTY = (
    HEADER
    + """c1,2017-05-01 12:00:00,,,WINE,1,2.5,,,
,2017-05-01,,,WINE,1,1,,,
c1,yesterday,,,WINE,1,1,,,
c1,0001-01-01,,,WINE,1,1,,,

c1,2017-05-01,,,WINE,1,1,,,soon
c1,2099-05-01,,,WINE,1,1,,,
c1,2017-05-01,,,WINE,1,1,,,2099-01-01
c1,2017-05-01,,,WINE,"1
2",1,,,
c1,2017-05-01,,,WINE,1,inf,,,
c1,2017-05-01,,,WINE,1,1,"1,5",,
c1,2017-05-01,,,WINE,1,1,,perhaps,
c1,2017-05-01,,i9,,1,1,,,
c1,2017-05-01,,i2,,1,1,,,
c1,2017-05-01,,i3,,1,1,,,
c1,2017-05-01,,,WINE,0,1,,,
c1,2017-05-01,,,WINE,1,-3,,,
c1,2017-05-01,,,WINE
c1,2017-05-01,,,WINE,1,1,,,,,
"c1,2017-05-01,,,WINE,1,1,,,
c2,2017-05-01,VIEW ,i1,\u00a0 BEER\t,,,,,
"""
)
EXPECTED = [
    (3, "missing_customer"),
    (4, "bad_timestamp"),
    (5, "bad_timestamp"),
    (7, "bad_created_timestamp"),
    (8, "future_timestamp"),
    (9, "future_timestamp"),
    (10, "bad_number"),
    (12, "bad_number"),
    (13, "bad_number"),
    (14, "bad_flag"),
    (15, "unknown_item"),
    (16, "not_a_product"),
    (17, "no_category"),
    (18, "no_quantity"),
    (19, "no_value"),
    (20, "unreadable_line"),
    (21, "unreadable_line"),
    (22, "unreadable_line"),
]


def test_every_bad_row_is_set_aside_with_its_line_its_reason_and_its_values(
    tolerant: Settings, source: Path, tmp_path: Path
) -> None:
    import_items(tolerant, tmp_path)
    result = import_text(tolerant, source, DIRTY)
    rows = quarantine(tolerant, result.run.run_id)
    assert [(line, reason) for _, line, reason, _ in rows] == EXPECTED
    assert {name for name, *_ in rows} == {"events.csv"}
    raw = {line: text for _, line, _, text in rows}
    assert json.loads(raw[4])["event_timestamp"] == "yesterday"
    assert json.loads(raw[10])["quantity"] == "1\n2"
    assert raw[20] == "c1,2017-05-01,,,WINE"
    assert raw[22] == '"c1,2017-05-01,,,WINE,1,1,,,'
    counted: dict[str, int] = {}
    for _, reason in EXPECTED:
        counted[reason] = counted.get(reason, 0) + 1
    assert result.quarantined == counted
    assert set(counted) | {"missing_item", "duplicate_item", "duplicate_customer"} == BAD_REASONS | OTHER_REASONS
    assert events(tolerant, "customer_id, event_type, category, brand, quantity, value, promoted") == [
        ("c1", "purchase", "WINE", None, 1.0, 2.5, False),
        ("c2", "view", "BEER", "Spar", 1.0, 0.0, False),
    ]
    assert result.run.detail["rows_read"] == len(EXPECTED) + result.run.rows == 20
    [recorded] = event_imports(tolerant)
    assert recorded.detail["first_event_timestamp"] == "2017-05-01T00:00:00+00:00"
    assert recorded.detail["last_event_timestamp"] == "2017-05-01T12:00:00+00:00"
    assert load_categories(tolerant).names == ("BEER", "WINE")


def test_a_line_that_is_no_utf8_costs_that_line(tolerant: Settings, source: Path) -> None:
    source.write_bytes(
        (HEADER + GOOD).encode() + b"c1,2017-05-01,,,CAF\xc9,1,1,,,\n" + GOOD.replace("c1", "ç2").encode()
    )
    result = import_events_from(tolerant, str(source))
    [(_, line, reason, raw)] = quarantine(tolerant, result.run.run_id)
    assert (line, reason) == (3, "unreadable_line")
    assert "CAF\\xc9" in raw
    assert events(tolerant, "customer_id") == [("c1",), ("ç2",)]


def test_too_many_bad_rows_stop_the_import_and_change_nothing(settings: Settings, source: Path) -> None:
    before = files(settings)
    with pytest.raises(TooManyBadRowsError) as error:
        import_text(settings, source, HEADER + GOOD * 9 + "c1,2017-05-32,,,WINE,1,1,,,\n")
    assert str(error.value) == (
        f"{source}: 10.0% of 10 rows are bad (1 bad_timestamp, first events.csv line 11), more than the 5.0% allowed. "
        "Nothing was imported. Mend the source, or raise PROPENSITY_MAX_BAD_ROW_SHARE."
    )
    assert files(settings) == before
    assert list_runs(settings) == []
    assert load_categories(settings).names == ()


def test_returns_and_free_items_are_not_bad_but_not_alone_an_import(settings: Settings, source: Path) -> None:
    returned = GOOD.replace("1,2.5", "-1,2.5")
    with pytest.raises(InputError, match=r"none of 2 rows can be used \(2 no_quantity, first events.csv line 2\)"):
        import_text(settings, source, HEADER + returned * 2)
    assert list_runs(settings) == []
    result = import_text(settings, source, HEADER + returned * 2 + GOOD)
    assert (result.run.rows, result.quarantined) == (1, {"no_quantity": 2})


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2017-05-01", "2017-04-30T22:00:00"),
        ("2017-05-01 12:00", "2017-05-01T10:00:00"),
        ("2017-05-01T12:00:00", "2017-05-01T10:00:00"),
        ("2017-12-01 12:00:00.25", "2017-12-01T11:00:00.250000"),
        ("2017-05-01T12:00:00Z", "2017-05-01T12:00:00"),
        ("2017-05-01T12:00Z", "2017-05-01T12:00:00"),
        ("2017-05-01 12:00:00 UTC", "2017-05-01T12:00:00"),
        ("2017-05-01 12:00:00+02:00", "2017-05-01T10:00:00"),
        ("2017-05-01 12:00:00 -0530", "2017-05-01T17:30:00"),
        ("2017-05-01T12:00:00.5-05", "2017-05-01T17:00:00.500000"),
        ("2017-03-26 02:30:00", "2017-03-26T01:30:00"),  # the clocks skip it
        ("2017-10-29 02:30:00", "2017-10-29T01:30:00"),  # the clocks repeat it
        ("  2017-05-01 ", "2017-04-30T22:00:00"),
    ],
)
def test_instants_are_read_in_the_given_time_zone_unless_they_carry_an_offset(
    written: str, expected: str, settings: Settings, source: Path
) -> None:
    import_text(settings, source, HEADER + GOOD.replace("2017-05-01 12:00:00", written), timezone="Europe/Berlin")
    assert events(settings, "event_timestamp") == [(datetime.fromisoformat(expected).replace(tzinfo=UTC),)]


@pytest.mark.parametrize(
    "written",
    [
        "",
        "infinity",
        "epoch",
        "01/02/2017",
        "1493640000",
        "2017-02-30",
        "2017-05-01 25:00:00",
        "2017-05-01 12:00:00 Europe/Berlin",
        "290000-01-01",
        "2017-05-01+99:00",
        "44-03-15 (BC)",
    ],
)
def test_other_spellings_are_bad_timestamps(written: str, tolerant: Settings, source: Path) -> None:
    result = import_text(tolerant, source, HEADER + GOOD + GOOD.replace("2017-05-01 12:00:00", written))
    assert result.quarantined == {"bad_timestamp": 1}


@pytest.mark.parametrize("kind", ["TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMPTZ", "DATE"])
def test_typed_instants_of_parquet(kind: str, tolerant: Settings, source: Path) -> None:
    file = source.with_suffix(".parquet")
    duckdb.sql(f"""
        SELECT 7 AS customer_id, 'WINE' AS category, instant::{kind} AS event_timestamp, 1::DECIMAL(9, 2) AS "Value"
        FROM (VALUES ('2017-05-01 00:00:00'), (NULL)) AS rows(instant)
    """).write_parquet(str(file))
    result = import_events_from(tolerant, str(file), timezone="Europe/Berlin")
    [(name, line, reason, raw)] = quarantine(tolerant, result.run.run_id)
    assert (name, line, reason, json.loads(raw)["customer_id"]) == ("events.parquet", 2, "bad_timestamp", 7)
    expected = datetime(2017, 5, 1, tzinfo=UTC) if kind == "TIMESTAMPTZ" else datetime(2017, 4, 30, 22, tzinfo=UTC)
    assert events(tolerant, "customer_id, event_timestamp, value") == [("7", expected, 1.0)]


def test_columns_and_delimiters_of_the_users_own(settings: Settings, source: Path) -> None:
    text = "\ufeffKunde;Zeit;Warengruppe;VALUE\nK1;2017-05-01;WEIN;3\n"
    with gzip.open(source.with_suffix(".csv.gz"), "wt", encoding="utf-8") as file:
        file.write(text)
    names = {"customer_id": "kunde", "event_timestamp": "Zeit", "category": "Warengruppe"}
    import_events_from(settings, str(source.with_suffix(".csv.gz")), column_names=names)
    assert events(settings, "customer_id, category, value") == [("K1", "WEIN", 3.0)]


def test_files_of_differing_columns_are_read_together(settings: Settings, source: Path) -> None:
    source.write_text("customer_id,event_timestamp,category,value\nc1,2017-05-01,WINE,1\n")
    (source.parent / "b.csv").write_text("category,customer_id,event_timestamp,brand\nBEER,c2,2017-05-01,Spar\n")
    (source.parent / "c.csv").write_text("category,customer_id,event_timestamp\n")
    import_events_from(settings, str(source.parent))
    assert events(settings, "customer_id, category, brand, value") == [
        ("c1", "WINE", None, 1.0),
        ("c2", "BEER", "Spar", 0.0),
    ]


def one_line(settings: Settings, source: str, **options: Any) -> str:
    before = files(settings)
    with pytest.raises(PropensityError) as error:
        import_events_from(settings, source, **options)
    message = str(error.value)
    assert "\n" not in message
    assert files(settings) == before
    assert list((settings.lake / ".staging").iterdir()) == []
    return message


def test_what_cannot_be_read_is_named_in_one_line(settings: Settings, source: Path) -> None:
    assert "There is no file" in one_line(settings, str(source))
    assert "There is no file" in one_line(settings, str(source.parent / "*.parquet"))
    source.write_text("")
    assert "has no rows" in one_line(settings, str(source))
    source.write_text(HEADER)
    assert "has no rows" in one_line(settings, str(source))
    source.write_text("customer_id,category\nc1,WINE\n")
    assert "--column event_timestamp=THEIRS" in one_line(settings, str(source))
    source.write_text(HEADER + GOOD)
    assert "Did you mean 'quantity'" in one_line(settings, str(source), column_names={"quantty": "x"})
    assert "has no column 'qty'" in one_line(settings, str(source), column_names={"quantity": "qty"})
    assert "'Mars/Base'" in one_line(settings, str(source), timezone="Mars/Base")
    assert "go with a database URL" in one_line(settings, str(source), table="events")
    source.write_text("customer_id,event_timestamp,Customer_ID\n")
    assert "twice" in one_line(settings, str(source))
    source.write_bytes(("\ufeff" + HEADER).encode("utf-16-le"))
    assert "UTF-16" in one_line(settings, str(source))
    for name, content in [("a.parquet", b"PAR1 no"), ("b.csv.gz", b"no gzip"), ("c.txt", b"")]:
        file = source.with_name(name)
        file.write_bytes(content)
        assert str(file) in one_line(settings, str(file))


def test_a_region_of_another_time_zone_is_refused_before_anything_is_written(settings: Settings, source: Path) -> None:
    import_text(settings, source, HEADER + GOOD)
    source.write_text(HEADER + GOOD.replace("c1", "c2"))
    elsewhere = settings.model_copy(update={"timezone": "Europe/Berlin"})
    assert "PROPENSITY_TIMEZONE=America/New_York" in one_line(elsewhere, str(source))
    with pytest.raises(SettingsError):
        import_events_from(elsewhere, str(source))


def test_without_a_catalogue_nothing_is_written(tmp_path: Path, source: Path) -> None:
    source.write_text(HEADER + GOOD)
    settings = load_settings(home=tmp_path / "bare")
    with pytest.raises(WarehouseSchemaError, match="propensity migrate"):
        import_events_from(settings, str(source))
    assert files(settings) == []


def test_imports_fit_into_little_memory(settings: Settings, source: Path) -> None:
    file = source.with_suffix(".parquet")
    duckdb.sql("""
        SELECT 'customer ' || hash(i) AS customer_id, TIMESTAMP '2017-01-01' + to_seconds(i) AS event_timestamp,
               'category ' || i % 300 AS category, md5(i::VARCHAR) AS event_id, md5(i::VARCHAR) AS basket_id
        FROM range(300_000) AS rows(i)
    """).write_parquet(str(file))
    small = settings.model_copy(update={"memory_limit": "100MB", "threads": 1})
    assert import_events_from(small, str(file)).run.rows == 300_000


def test_too_little_memory_is_said_in_one_line(settings: Settings, source: Path) -> None:
    source.write_text(HEADER + GOOD * 20_000)
    assert "PROPENSITY_MEMORY_LIMIT" in one_line(settings.model_copy(update={"memory_limit": "5MB"}), str(source))
