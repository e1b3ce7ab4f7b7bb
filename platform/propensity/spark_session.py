"""Spark's door: the one module that imports pyspark, and the application that scoring and building run in."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
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

_NO_PYSPARK = f"Spark isn't installed. Install it with: make spark (pyspark; and Java 17: apt-get install {JAVA})"
_NO_JAVA = f"Spark found no Java it runs on. On Debian: apt-get install {JAVA}"


def check_spark() -> None:
    """Find out whether Spark can be started here. Starts nothing.

    Raises:
        RuntimeMissingError: pyspark or Java isn't installed.
    """
    if importlib.util.find_spec("pyspark") is None:
        raise RuntimeMissingError(_NO_PYSPARK)
    if "JAVA_HOME" not in os.environ and shutil.which("java") is None:
        raise RuntimeMissingError(_NO_JAVA)


def spark_options(settings: Settings) -> dict[str, str]:
    """Return the options of an application of ours, by Spark's names; without a master unless one is set."""
    master = settings.scoring.spark_master
    return OPTIONS | settings.scoring.spark | ({} if master is None else {"spark.master": master})


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
        raise RuntimeMissingError(_NO_PYSPARK) from error
    there = pyspark.SparkContext._active_spark_context  # noqa: SLF001 - getOrCreate would not say whose it is
    if there is not None:
        yield there
        return
    # Workers on this machine run the same Python, with the same packages.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    conf = pyspark.SparkConf().setAppName(name)
    for option, value in spark_options(settings).items():
        conf.set(option, value)
    conf.setIfMissing("spark.master", "local[*]")
    try:
        context = pyspark.SparkContext(conf=conf)
    except Exception as error:
        if "JAVA" in str(error).upper():
            raise RuntimeMissingError(_NO_JAVA) from error
        told = (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
        raise EngineError(f"Spark can't be reached at {conf.get('spark.master')}: {told}") from error
    try:
        yield context
    finally:
        context.stop()
