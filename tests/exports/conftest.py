from __future__ import annotations

import pytest

from propensity.models.artifact import read_artifact
from tests.training.planted import write


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """An artifact for each K."""
    beside = tmp_path_factory.mktemp("models")
    return {n_classes: read_artifact(write(beside / f"v{n_classes}", n_classes)) for n_classes in (2, 3)}
