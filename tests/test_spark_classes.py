"""Spark's JVMs start from archives of its classes, where this machine has them."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from propensity import spark_session
from propensity.spark_classes import KINDS, archive
from tests import shop
from tests.spark import needs_spark


def test_without_archives_no_option_is_added(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert spark_session._with_classes({"spark.driver.defaultJavaOptions": "-Xss4m"}) == {
        "spark.driver.defaultJavaOptions": "-Xss4m"
    }


def test_an_archive_is_named_beside_the_other_options(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    for kind in KINDS:
        archive(kind).parent.mkdir(parents=True, exist_ok=True)
        archive(kind).touch()
    found = spark_session._with_classes({"spark.driver.defaultJavaOptions": "-Xss4m", "spark.x": "y"})
    share = tmp_path / "share" / "propensity"
    quiet = "-Xlog:cds=off -Xlog:cds+dynamic=off"
    assert found == {
        "spark.driver.defaultJavaOptions": f"-Xss4m -XX:SharedArchiveFile={share}/spark-driver.jsa {quiet}",
        "spark.executor.defaultJavaOptions": f"-XX:SharedArchiveFile={share}/spark-executor.jsa {quiet}",
        "spark.x": "y",
    }


MAKE = """if True:
    import sys
    sys.prefix = sys.argv[1]
    from propensity.spark_archiving import make_archives
    make_archives()
"""
COUNT = """if True:
    import sys
    from pathlib import Path
    sys.prefix = sys.argv[1]
    from propensity.settings import Settings
    from propensity.spark_session import SMALL_JVMS, spark_context
    home = Path(sys.argv[2])
    log = "-Xlog:class+load:file="
    told = {f"spark.{kind}.extraJavaOptions": f"{log}{home}/{kind}.log" for kind in ("driver", "executor")}
    scoring = {"spark_master": "local-cluster[1,1,1024]", "spark": told}
    with spark_context(Settings(home=home, scoring=scoring), "count", SMALL_JVMS) as context:
        print(context.parallelize(range(10), 2).count())
"""


def python(code: str, *arguments: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=shop.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_spark
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_jvms_take_classes_from_the_archives_that_were_made(tmp_path):
    work = Path(str(importlib.util.find_spec("pyspark").origin)).parent / "work"
    before = set(work.glob("*"))
    python(MAKE, tmp_path)
    assert sorted(path.name for path in (tmp_path / "share" / "propensity").iterdir()) == [
        "spark-driver.jsa",
        "spark-executor.jsa",
    ]
    assert set(work.glob("*")) == before
    home = tmp_path / "home"
    home.mkdir()
    assert python(COUNT, tmp_path, home).strip() == "10"
    of = {"driver": "org.apache.spark.SparkContext ", "executor": "org.apache.spark.executor.Executor "}
    for kind, name in of.items():
        loaded = [line for line in (home / f"{kind}.log").read_text().splitlines() if name in line]
        assert len(loaded) == 1
        assert loaded[0].endswith("source: shared objects file (top)")
    for made in set(work.glob("*")) - before:
        shutil.rmtree(made)  # of the second application
