from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from propensity.api import Platform
from propensity.scoring.service import score
from tests import shop
from tests.conftest import built_once
from tests.scoring.large_snapshot import CUSTOMERS, PARTS, enlarge, finish, published
from tests.scoring.published import AS_OF, TOP_KS


@pytest.fixture(scope="session")
def thrice(finished_home, shared_directory):
    """A home with three publications of AS_OF, of 5, 4 and 3 top categories; the first is online. For reading."""

    def build(home):
        shutil.copytree(finished_home, home)
        for top_k in TOP_KS[1:]:
            score(shop.settings_of(home, top_k=top_k), AS_OF)

    return built_once(shared_directory / "thrice", build)


@pytest.fixture
def thrice_published(thrice, tmp_path):
    """The platform of a copy of that home."""
    return Platform(shop.settings_of(shutil.copytree(thrice, tmp_path / "home")))


@pytest.fixture(scope="module")
def large_home(finished_home, tmp_path_factory) -> Path:
    """The finished home with a snapshot of `CUSTOMERS`; for reading."""
    home = shutil.copytree(finished_home, tmp_path_factory.mktemp("large") / "home")
    enlarge(home, CUSTOMERS)
    return home


@pytest.fixture(scope="module")
def undisturbed(large_home, tmp_path_factory) -> dict[str, str]:
    """Sums of the files that an undisturbed scoring publishes."""
    home = shutil.copytree(large_home, tmp_path_factory.mktemp("undisturbed") / "home")
    assert finish(home)[0] == CUSTOMERS
    sums = published(home)
    assert sorted(sums) == PARTS
    assert len(PARTS) == 8
    return sums
