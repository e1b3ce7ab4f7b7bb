"""The catalogue opens, or says in one line why it doesn't."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from sqlalchemy import select

from propensity.errors import (
    PropensityError,
    UnknownCategoryError,
    WarehouseError,
    WarehouseLockedError,
    WarehouseSchemaError,
)
from propensity.settings import Settings, load_settings
from propensity.warehouse.catalogue import Category, Region
from propensity.warehouse.catalogue_session import catalogue_session
from propensity.warehouse.categories import add_categories, load_categories
from propensity.warehouse.migration import migrate
from propensity.warehouse.runs import RunRecord, find_run, fingerprint, list_runs, record_run

HOLDER = """
import duckdb, sys, time
connection = duckdb.connect(sys.argv[1])
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""
NOON = datetime(2017, 11, 1, 12, tzinfo=UTC)


@contextmanager
def another_process_holds(path: Path, seconds: float = 60) -> Iterator[int]:
    command = [sys.executable, "-c", HOLDER, str(path), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            yield holder.pid
        finally:
            holder.kill()


def one_line(error: pytest.ExceptionInfo[PropensityError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def open_it(settings: Settings) -> None:
    with catalogue_session(settings):
        pass


def test_a_lock_that_stays_is_reported_with_its_holder_in_time(settings: Settings) -> None:
    hurried = settings.model_copy(update={"lock_timeout_seconds": 0.5})
    with another_process_holds(settings.warehouse) as pid:
        started = time.monotonic()
        with pytest.raises(WarehouseLockedError) as error:
            open_it(hurried)
        assert time.monotonic() - started < 5
        assert f"PID {pid}" in one_line(error)
        with pytest.raises(WarehouseLockedError):
            migrate(hurried)


def test_a_lock_that_goes_is_waited_for(settings: Settings) -> None:
    with another_process_holds(settings.warehouse, seconds=0.3):
        open_it(settings)


def test_a_missing_catalogue_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(WarehouseSchemaError) as error:
        open_it(load_settings(home=tmp_path))
    assert "propensity migrate" in one_line(error)
    assert not (tmp_path / "warehouse.duckdb").exists()


def test_a_damaged_catalogue_is_not_taken_for_a_locked_one(tmp_path: Path) -> None:
    # DuckDB's message carries the path, and this path has a 'lock' in it.
    settings = load_settings(home=tmp_path / "blocks")
    migrate(settings)
    settings.warehouse.write_bytes(b"no database " * 1000)
    for attempt in (open_it, migrate):
        with pytest.raises(WarehouseError) as error:
            attempt(settings)
        assert not isinstance(error.value, WarehouseLockedError)
        assert re.search("not a valid DuckDB database.*Restore it", one_line(error))


def test_a_foreign_database_names_the_tables_it_lacks(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    with duckdb.connect(str(settings.warehouse)) as connection:
        connection.execute("CREATE TABLE regions (region VARCHAR)")
    with pytest.raises(WarehouseSchemaError, match=r"lacks categories.*propensity migrate"):
        open_it(settings)


def test_a_session_that_fails_changes_nothing_and_lets_go(settings: Settings) -> None:
    def fail() -> None:
        with catalogue_session(settings) as session:
            session.add(Region(region="us", timezone="UTC", created_timestamp=NOON))
            session.flush()
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        fail()
    with another_process_holds(settings.warehouse, seconds=0):
        pass
    with catalogue_session(settings) as session:
        assert session.scalars(select(Region)).all() == []


def test_the_home_directory_can_be_moved(settings: Settings, tmp_path: Path) -> None:
    with catalogue_session(settings) as session:
        session.add(Region(region="us", timezone="UTC", created_timestamp=NOON))
    settings.home.rename(tmp_path / "elsewhere")
    with catalogue_session(load_settings(home=tmp_path / "elsewhere")) as session:
        assert session.get_one(Region, "us").created_timestamp == NOON


def test_categories_keep_their_index_and_their_earliest_sight(settings: Settings) -> None:
    earlier = NOON.replace(year=2016)
    with catalogue_session(settings) as session:
        assert add_categories(session, "us", [("BEER", NOON), ("WINE", NOON)]) == 2
    with catalogue_session(settings) as session:
        assert add_categories(session, "us", [("APPLES", NOON), ("WINE", earlier)]) == 1
    categories = load_categories(settings)
    assert categories.names == ("BEER", "WINE", "APPLES")
    assert categories.first_event_timestamp == (NOON, earlier, NOON)
    with pytest.raises(UnknownCategoryError, match=r"'WINE ' is not a category of region 'us'\. Did you mean 'WINE'"):
        categories.index_of("WINE ", "us")
    with catalogue_session(settings) as session:
        assert session.scalars(select(Category.category).where(Category.region == "de")).all() == []


def test_runs_are_found_again_as_they_were_recorded(settings: Settings) -> None:
    run = RunRecord("r1", "us", "features", "finished", NOON, 3_000_000_000, 1.5, NOON, {"events": ["a"]})
    with catalogue_session(settings) as session:
        record_run(session, run)
    with catalogue_session(settings) as session:
        record_run(session, run)
    assert find_run(settings, "r1") == run
    assert find_run(settings, "r2") is None
    assert list_runs(settings, kind="features", as_of=NOON) == [run]
    assert list_runs(settings, kind="labels") == []


def test_equal_inputs_have_equal_fingerprints() -> None:
    assert fingerprint("us", {"b": 1, "a": 2}) == fingerprint("us", {"a": 2, "b": 1}) == "28d6c1c55b05"
    assert fingerprint("us", 1) != fingerprint("us", 2)
