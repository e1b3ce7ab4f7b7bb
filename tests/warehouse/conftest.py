"""Fixtures of the importers' tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from propensity.settings import Settings


@pytest.fixture
def tolerant(settings: Settings) -> Settings:
    return settings.model_copy(update={"max_bad_row_share": 1.0})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a path for the source; its directory holds nothing else."""
    (tmp_path / "in").mkdir()
    return tmp_path / "in" / "events.csv"
