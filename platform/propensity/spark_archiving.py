"""Makes the archives of `spark_classes`, by an application that does a little of everything.

Run by `make spark`, or: python -m propensity.spark_archiving
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from propensity.errors import EngineError
from propensity.settings import Settings
from propensity.spark_classes import KINDS, archive
from propensity.spark_session import LOCAL_OPTIONS, SMALL_JVMS, check_spark, spark_sql

EXIT_SECONDS: Final = 120.0
"""A JVM writes its archive when it ends."""


def make_archives() -> None:
    """Make both archives anew, for the Java and the Spark that are here.

    Raises:
        RuntimeMissingError: pyspark or Java isn't installed.
        EngineError: Spark can't be started, or Java wrote no archive.

    Side effects: replaces the files of `archive`; a Spark application on this machine meanwhile.
    """
    check_spark()
    directory = archive("driver").parent
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as made:
        for kind in KINDS:
            archive(kind).unlink(missing_ok=True)  # classes that come out of an archive aren't put into another
        _run_application(Path(made))
        for kind in KINDS:
            if not (written := Path(made) / f"{kind}.jsa").is_file():
                raise EngineError(f"Java wrote no archive of the {kind}'s classes. Spark runs without.")
            written.rename(archive(kind))


def _run_application(directory: Path) -> None:
    """Run an application with an executor in a JVM of its own, whose JVMs write archives when they end."""
    options = {f"spark.{kind}.extraJavaOptions": f"-XX:ArchiveClassesAtExit={directory / kind}.jsa" for kind in KINDS}
    options["spark.sql.warehouse.dir"] = str(directory / "warehouse")  # by default here, wherever that is
    home = directory / "home"
    home.mkdir()
    scoring = {"spark_master": "local-cluster[1,1,1024]", "spark": options | LOCAL_OPTIONS | SMALL_JVMS}
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    with spark_sql(Settings.model_validate({"home": home, "scoring": scoring}), "propensity classes") as spark:
        spark.sparkContext.parallelize(range(2), 2).mapPartitions(_counted).collect()
        file = str(directory / "numbers.parquet")
        spark.range(1_000).selectExpr("id", "id % 7 AS of", "array(id) AS list").write.parquet(file)
        spark.read.parquet(file).createOrReplaceTempView("numbers")
        spark.sql("SELECT a.of, count(*), max(b.list) FROM numbers a JOIN numbers b USING (id) GROUP BY a.of").collect()
        jvm, application = spark.sparkContext._gateway.proc, spark.sparkContext.applicationId  # noqa: SLF001
    jvm.stdin.close()  # pyspark doesn't wait for it at its end
    jvm.wait(EXIT_SECONDS)
    # An executor of such a cluster works there, whatever the settings say.
    spark_home = Path(str(importlib.util.find_spec("pyspark").origin)).parent  # type: ignore[union-attr]
    shutil.rmtree(spark_home / "work" / application, ignore_errors=True)


def _counted(numbers: Iterator[Any]) -> Iterator[int]:
    yield sum(1 for _ in numbers)


if __name__ == "__main__":
    make_archives()
