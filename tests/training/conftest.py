from __future__ import annotations

import pytest

from propensity.training import threads


@pytest.fixture
def threads_restored():
    """One thread after the test, as before it, whatever becomes of it."""
    yield
    threads.set_threads(1)
