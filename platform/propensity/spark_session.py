"""Spark's door: the one module that imports pyspark, and the application that scoring and building run in."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from propensity.errors import EngineError, RuntimeMissingError

if TYPE_CHECKING:
    from propensity.settings import Settings

JAVA: Final = "openjdk-17-jre-headless"
"""Debian's package of a Java that Spark runs on."""
OPTIONS: Final = {
    "spark.ui.enabled": "false",
    # A task is one lane: more threads of BLAS or OpenMP in it would contend with the other tasks of its machine.
    "spark.executorEnv.OMP_NUM_THREADS": "1",
    "spark.executorEnv.OPENBLAS_NUM_THREADS": "1",
    "spark.executorEnv.TZ": "UTC",
}
"""Unless the setting `scoring.spark` says otherwise."""


@contextmanager
def spark_context(settings: Settings, name: str) -> Iterator[Any]:
    """Yield a SparkContext: the one of this process, as `spark-submit` or a notebook made it, or one of our own.

    Raises:
        RuntimeMissingError: pyspark or Java isn't installed.
        EngineError: The master can't be reached, or an option isn't Spark's.
    """
    try:
        pyspark = importlib.import_module("pyspark")
    except ImportError as error:
        raise RuntimeMissingError(
            f"Spark isn't installed. Install it with: make spark (pyspark; and Java 17: apt-get install {JAVA})"
        ) from error
    there = pyspark.SparkContext._active_spark_context  # noqa: SLF001 - getOrCreate would not say whose it is
    if there is not None:
        yield there
        return
    # Workers on this machine run the same Python, with the same packages.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    conf = pyspark.SparkConf().setAppName(name)
    if settings.scoring.spark_master is not None:
        conf.setMaster(settings.scoring.spark_master)
    conf.setIfMissing("spark.master", "local[*]")
    for option, value in (OPTIONS | settings.scoring.spark).items():
        conf.set(option, value)
    try:
        context = pyspark.SparkContext(conf=conf)
    except Exception as error:
        if "JAVA" in str(error).upper():
            raise RuntimeMissingError(f"Spark found no Java it runs on. On Debian: apt-get install {JAVA}") from error
        told = (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
        raise EngineError(f"Spark can't be reached at {conf.get('spark.master')}: {told}") from error
    try:
        yield context
    finally:
        context.stop()
