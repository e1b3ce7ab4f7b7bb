"""Spark's door: the one module that imports pyspark, and the application that scoring and building run in."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from propensity.errors import EngineError, PropensityError, RuntimeMissingError, SettingsError

if TYPE_CHECKING:
    from propensity.settings import Settings

JAVA: Final = "openjdk-17-jre-headless"
"""Debian's package of a Java that Spark runs on."""
OPTIONS: Final = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",  # a command has a bar of its own
    # A task is one lane: more threads of BLAS or OpenMP in it would contend with the other tasks of its machine.
    "spark.executorEnv.OMP_NUM_THREADS": "1",
    "spark.executorEnv.OPENBLAS_NUM_THREADS": "1",
    "spark.executorEnv.TZ": "UTC",
}
"""Unless the setting `scoring.spark` says otherwise."""
SQL_OPTIONS: Final = {
    "spark.sql.session.timeZone": "UTC",
    # What doesn't fit its type is an error, as it is for DuckDB.
    "spark.sql.ansi.enabled": "true",
    # Rows that lie together by customer aren't shuffled to be joined by customer and snapshot.
    "spark.sql.requireAllClusterKeysForCoPartition": "false",
    # Nor are they once they are kept: Spark knows then that they lie so.
    "spark.sql.optimizer.canChangeCachedPlanOutputPartitioning": "false",
}
"""Of a session that builds: what the results depend on."""


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


@contextmanager
def spark_sql(settings: Settings, name: str) -> Iterator[Any]:
    """Yield a SparkSession in UTC whose views and options are its own, in the SparkContext of `spark_context`.

    Raises:
        RuntimeMissingError: pyspark or Java isn't installed.
        EngineError: The master can't be reached, an option isn't Spark's, or Spark gave up within the block.
    """
    with spark_context(settings, name) as context:
        spark = importlib.import_module("pyspark.sql").SparkSession(context).newSession()
        for option, value in SQL_OPTIONS.items():
            spark.conf.set(option, value)
        refused = (
            importlib.import_module("pyspark.errors").PySparkException,
            importlib.import_module("py4j.protocol").Py4JError,
        )
        logger = importlib.import_module("pyspark.logger").PySparkLogger.getLogger("SQLQueryContextLogger")
        logger.disabled = True  # else pyspark prints pages of JSON for what becomes a line
        try:
            yield spark
        except PropensityError:
            raise
        except refused as error:
            raise EngineError(f"Spark gave up. {_cause(error)} The same command begins again.") from error
        finally:
            logger.disabled = False


def run_query(spark: Any, query: str, where: str) -> Any:
    """Return the DataFrame of a query, which is checked but not run yet.

    Raises:
        SettingsError: Spark refuses the query; the message begins with `where`.
    """
    try:
        return spark.sql(query)
    except importlib.import_module("pyspark.errors").AnalysisException as error:
        raise SettingsError(f"{where}: Spark refuses it: {_cause(error)}") from error


def _cause(error: Exception) -> str:
    """Return what a worker raised, else the first line of what Spark says."""
    causes = re.findall(r"^(?:\w+\.)*(\w+(?:Error|Exception)): (.+)$", str(error), re.MULTILINE)
    told = [f"{name}: {text}" for name, text in causes if not name.startswith(("Spark", "Py4J", "Python"))]
    lines = str(error).strip().splitlines() or [type(error).__name__]
    line = told[0] if told else lines[0]
    return line if line.endswith((".", "!", "?")) else f"{line}."
