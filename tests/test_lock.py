"""What pyproject.toml asks for, extras and all, is in requirements.lock, with hashes and from nowhere in particular."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.shop import ROOT

ENTRY = re.compile(r"^(?P<name>[a-z0-9._-]+)(?:\[[a-z0-9,-]+\])?==(?P<version>[^ ;\\]+)", re.M)


@pytest.fixture(scope="module")
def lock() -> dict[str, str]:
    text = (ROOT / "requirements.lock").read_text()
    return {canonicalize_name(entry["name"]): entry["version"] for entry in ENTRY.finditer(text)}


def requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    return [Requirement(text) for text in [*project["dependencies"], *(text for extra in extras for text in extra)]]


def test_every_requirement_is_locked(lock: dict[str, str]) -> None:
    asked = requirements()
    assert len(asked) > 30
    assert {"lightgbm", "scikit-learn", "optuna"} <= {requirement.name for requirement in asked}
    for requirement in asked:
        version = lock.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is not in requirements.lock"
        assert requirement.specifier.contains(version), f"{requirement} is locked at {version}"


def test_every_locked_package_has_hashes_and_no_address(lock: dict[str, str]) -> None:
    text = (ROOT / "requirements.lock").read_text()
    blocks = [block for block in re.split(r"\n(?=[a-z0-9])", text) if ENTRY.match(block)]
    assert len(blocks) == len(lock) > 100
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", block) for block in blocks)
    assert "://" not in text
    assert "index-url" not in text
