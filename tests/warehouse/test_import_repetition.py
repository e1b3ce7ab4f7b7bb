"""What importing again changes: nothing, unless the rows are new or are read differently."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from propensity.errors import InputError
from propensity.features.events import event_imports
from propensity.settings import Settings
from propensity.warehouse import importing
from propensity.warehouse.event_sources import import_events_from
from propensity.warehouse.import_result import ImportResult
from propensity.warehouse.runs import list_runs
from propensity.warehouse.sql_views import refresh_views, sql_connection
from tests.warehouse.event_texts import GOOD, HEADER, import_items, import_text
from tests.warehouse.tables import events, files


def test_the_same_rows_again_change_nothing(settings: Settings, source: Path) -> None:
    first = import_text(settings, source, HEADER + GOOD + GOOD.replace("c1", "c2"))
    before, runs = files(settings), list_runs(settings)
    again = import_events_from(settings, str(source))
    # Elsewhere, in another order and another format they are the same rows still.
    renamed = source.with_name("renamed.csv")
    shuffled = import_text(settings, renamed, HEADER + GOOD.replace("c1", "c2") + GOOD)
    parquet = source.with_name("events.parquet")
    duckdb.sql(f"SELECT customer_id, event_timestamp, category, quantity, value FROM '{source}'").write_parquet(
        str(parquet)
    )
    typed = import_events_from(settings, str(parquet))
    for repeated in (again, shuffled, typed):
        assert repeated == ImportResult(first.run, first.quarantined, already_imported=True)
    assert files(settings) == before
    assert list_runs(settings) == runs


def test_an_import_killed_before_it_was_recorded_is_completed_by_the_next(
    settings: Settings, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_arguments: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(importing, "_record", killed)
        with pytest.raises(KeyboardInterrupt):
            import_text(settings, source, HEADER + GOOD)
    assert list_runs(settings) == []
    before = files(settings)
    assert before
    result = import_events_from(settings, str(source))
    assert not result.already_imported
    assert files(settings) == before
    assert result.run.rows == 1
    assert list_runs(settings) == [result.run]


def test_rows_that_another_import_brings_meanwhile_are_not_imported_twice(
    settings: Settings, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = importing._record
    other = source.with_name("other.csv")
    other.write_text("event_id," + HEADER + "e1," + GOOD + "e2," + GOOD)

    def after_another(*arguments: Any) -> bool:
        monkeypatch.setattr(importing, "_record", record)
        import_events_from(settings, str(other))
        return record(*arguments)

    monkeypatch.setattr(importing, "_record", after_another)
    result = import_text(settings, source, "event_id," + HEADER + "e2," + GOOD + "e3," + GOOD)
    assert result.run.detail["already_known"] == 1
    assert events(settings, "event_id") == [("e1",), ("e2",), ("e3",)]


def test_overlapping_extracts_add_up_by_event_id(settings: Settings, source: Path) -> None:
    header = "event_id," + HEADER
    first = import_text(settings, source, header + "e1," + GOOD + "e2," + GOOD + "e2," + GOOD)
    assert first.run.detail["already_known"] == 1
    second = import_text(settings, source, header + "e2," + GOOD + "e3," + GOOD)
    assert (second.run.rows, second.run.detail["already_known"]) == (1, 1)
    only_old = import_text(settings, source, header + "e3," + GOOD)
    assert (only_old.run.rows, only_old.run.detail["already_known"]) == (0, 1)
    assert events(settings, "event_id") == [("e1",), ("e2",), ("e3",)]
    assert len(event_imports(settings)) == 2


def test_of_a_growing_directory_only_new_files_are_imported(settings: Settings, source: Path) -> None:
    import_text(settings, source, HEADER + GOOD)
    (source.parent / "later").mkdir()
    (source.parent / "later" / "events.csv").write_text(HEADER + GOOD.replace("c1", "c2"))
    (source.parent / "_SUCCESS.csv").write_text("not data")
    result = import_events_from(settings, str(source.parent))
    assert (result.run.rows, result.run.detail["rows_read"]) == (1, 1)
    assert [held["name"] for held in result.run.detail["sources"]] == ["later/events.csv"]
    assert events(settings, "customer_id") == [("c1",), ("c2",)]
    (source.parent / "returns.csv").write_text(HEADER + GOOD.replace("1,2.5", "-1,2.5"))
    assert import_events_from(settings, str(source.parent)).quarantined == {"no_quantity": 1}
    assert import_events_from(settings, str(source.parent / "**" / "*.csv")).already_imported


def test_another_reading_of_the_same_rows_replaces_the_first(settings: Settings, source: Path) -> None:
    wrong = import_text(settings, source, HEADER + GOOD)
    right = import_events_from(settings, str(source), timezone="Europe/Berlin")
    assert events(settings, "event_timestamp") == [(datetime(2017, 5, 1, 10, tzinfo=UTC),)]
    assert [run.run_id for run in event_imports(settings)] == [right.run.run_id]
    states = {run.run_id: run.state for run in list_runs(settings)}
    assert states == {wrong.run.run_id: "superseded", right.run.run_id: "finished"}
    refresh_views(settings)
    with sql_connection(settings) as connection:
        assert connection.execute("SELECT run_id FROM events").fetchall() == [(right.run.run_id,)]
    back = import_events_from(settings, str(source), timezone="UTC")
    assert back.run.run_id == wrong.run.run_id
    assert events(settings, "event_timestamp") == [(datetime(2017, 5, 1, 12, tzinfo=UTC),)]


def test_a_forgotten_column_is_mended_by_naming_it(settings: Settings, source: Path) -> None:
    import_text(settings, source, "customer_id,event_timestamp,category,price\nc1,2017-05-01,WINE,2.5\n")
    import_events_from(settings, str(source), column_names={"value": "price"})
    assert events(settings, "value") == [(2.5,)]


def test_mended_items_let_a_repeated_import_bring_the_rows_that_named_them(
    tolerant: Settings, source: Path, tmp_path: Path
) -> None:
    rows = HEADER + "c1,2017-05-01,,i1,,1,1,,,\nc2,2017-05-01,,,BEER,1,1,,,\n"
    assert import_text(tolerant, source, rows).quarantined == {"unknown_item": 1}
    import_items(tolerant, tmp_path)
    assert import_events_from(tolerant, str(source)).quarantined == {}
    assert events(tolerant, "customer_id, category") == [("c1", "WINE"), ("c2", "BEER")]


def test_part_of_an_import_cannot_be_read_differently(settings: Settings, source: Path) -> None:
    (source.parent / "b.csv").write_text(HEADER + GOOD)
    source.write_text(HEADER + GOOD.replace("c1", "c2"))
    import_events_from(settings, str(source.parent))
    with pytest.raises(InputError, match=r"read differently .* together with b.csv as import-.*Nothing was imported"):
        import_events_from(settings, str(source), timezone="Europe/Berlin")
    import_events_from(settings, str(source.parent), timezone="Europe/Berlin")
    assert {instant for (instant,) in events(settings, "event_timestamp")} == {datetime(2017, 5, 1, 10, tzinfo=UTC)}
