"""Fixtures of the warehouse's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from propensity.settings import Settings, load_settings
from propensity.warehouse.migration import migrate


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings of an empty, migrated home directory."""
    settings = load_settings(home=tmp_path / "home")
    migrate(settings)
    return settings


@pytest.fixture
def tolerant(settings: Settings) -> Settings:
    """Return settings of the same home that let any share of rows be bad."""
    return settings.model_copy(update={"max_bad_row_share": 1.0})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a path for the source; its directory holds nothing else."""
    (tmp_path / "in").mkdir()
    return tmp_path / "in" / "events.csv"
