"""The migrated schema is the models', from the package and from plain Alembic."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from propensity.errors import WarehouseError
from propensity.settings import Settings, load_settings, project_root
from propensity.warehouse.catalogue import Base
from propensity.warehouse.catalogue_session import catalogue_engine
from propensity.warehouse.migration import migrate


def tables(settings: Settings) -> set[str]:
    with catalogue_engine(settings.warehouse).connect() as connection:
        return set(inspect(connection).get_table_names())


def test_the_migrated_schema_is_the_models(settings: Settings) -> None:
    assert tables(settings) == {*Base.metadata.tables, "alembic_version"}
    with catalogue_engine(settings.warehouse).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        columns = {
            (table, column["name"]): column["nullable"]
            for table in Base.metadata.tables
            for column in inspect(connection).get_columns(table)
        }
        keys = {
            table: inspect(connection).get_pk_constraint(table)["constrained_columns"] for table in Base.metadata.tables
        }
    # Alembic compares neither of these two.
    assert columns == {
        (table.name, column.name): column.nullable
        for table in Base.metadata.tables.values()
        for column in table.columns
    }
    assert keys == {
        table.name: [column.name for column in table.primary_key] for table in Base.metadata.tables.values()
    }


def test_migrating_again_changes_nothing_and_says_nothing(
    settings: Settings, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        migrate(settings)
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_missing_migrations_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROPENSITY_PROJECT", str(tmp_path))
    with pytest.raises(WarehouseError, match="PROPENSITY_PROJECT"):
        migrate(load_settings(home=tmp_path / "home"))


def test_plain_alembic_upgrades_checks_and_downgrades(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "home")

    def alembic(*arguments: str) -> str:
        ran = subprocess.run(
            [sys.executable, "-W", "error", "-m", "alembic", *arguments],
            cwd=project_root(),
            check=False,
            env={**os.environ, "PROPENSITY_HOME": str(settings.home)},
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stderr
        assert "Warning" not in ran.stderr
        return ran.stdout

    alembic("upgrade", "head")
    assert tables(settings) == {*Base.metadata.tables, "alembic_version"}
    assert "No new upgrade operations" in alembic("check")
    alembic("downgrade", "base")
    assert tables(settings) == {"alembic_version"}
    migrate(settings)
    assert tables(settings) == {*Base.metadata.tables, "alembic_version"}
