from __future__ import annotations

import shutil

import pytest

from propensity.api import Platform
from propensity.scoring.service import score
from tests import shop
from tests.conftest import built_once
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
