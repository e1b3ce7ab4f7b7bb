from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from propensity.api import Platform
from tests import shop
from tests.conftest import built_once


@pytest.fixture(scope="session")
def reported_home(shared_directory, finished_home) -> Path:
    """The finished home with its model's page and figures. For reading: copy it to change it."""

    def build(home: Path) -> None:
        shutil.copytree(finished_home, home)
        Platform(shop.settings_of(home)).report()

    return built_once(shared_directory / "reported", build)


@pytest.fixture(scope="session")
def page_file(reported_home) -> Path:
    """The shop's page."""
    (path,) = reported_home.glob("reports/*/*.html")
    return path
