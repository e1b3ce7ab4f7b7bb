"""Fixtures of the whole suite."""

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
