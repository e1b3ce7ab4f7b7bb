"""For tests that need Spark, which isn't in the default installation."""

from __future__ import annotations

import importlib.util
import shutil

import pytest

needs_spark = pytest.mark.skipif(
    importlib.util.find_spec("pyspark") is None or shutil.which("java") is None,
    reason="pyspark or Java isn't installed: make spark",
)
