"""The Spark engine beside the local one: the same bytes, and nothing twice or missing whatever dies."""

from __future__ import annotations

import pickle
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from propensity.errors import ArtifactError, EngineError, RuntimeMissingError
from propensity.features.snapshots import find_snapshot
from propensity.scoring import local_engine, service, spark_engine
from propensity.scoring.parts import parts_of
from propensity.scoring.process_memory import settled_memory
from propensity.scoring_settings import ScoringSettings
from tests import shop
from tests.scoring.large_snapshot import (
    CREATED,
    CUSTOMERS,
    PARTS,
    as_of_of,
    feature_file,
    finished_parts,
    published,
    published_inodes,
    start,
)
from tests.scoring.watch import Watch
from tests.spark import needs_spark

HERE = {"PROPENSITY_SCORING__ENGINE": "spark", "PROPENSITY_SCORING__SPARK_MASTER": "local[2]"}


@pytest.fixture
def home(large_home, tmp_path) -> Path:
    return shutil.copytree(large_home, tmp_path / "home")


def wait_until(running, happened):
    while running.poll() is None and not happened():
        time.sleep(0.005)
    assert running.poll() is None, running.communicate()[1]


def wait_for_parts(running, home, parts):
    wait_until(running, lambda: len(finished_parts(home)) >= parts)


def test_without_spark_the_error_says_how_to_get_it(finished_home, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyspark", None)
    settings = shop.settings_of(finished_home, top_k=3, scoring=ScoringSettings(engine="spark"))
    with pytest.raises(RuntimeMissingError, match=r"make spark"):
        service.score(settings, as_of_of(settings))


def test_a_task_that_was_sent_writes_the_same_parts_and_none_twice(home, undisturbed, monkeypatch):
    """What a worker does, without Spark around it."""

    def by_tasks(settings, job, scorer, staging, parts, progress):
        artifact = settings.models / job.region / job.model_version
        task = pickle.loads(pickle.dumps(spark_engine.SparkTask(settings, job, artifact, staging)))
        other = replace(task, job=replace(job, artifact_sha256="another"))
        with pytest.raises(ArtifactError, match="isn't the model that the driver read"):
            list(other(iter(parts)))
        assert list(task(iter(()))) == []
        assert list(task(iter(parts[:3]))) == [0, 1, 2]
        before = finished_parts(home)
        assert list(task(iter(parts))) == list(range(len(parts)))
        assert finished_parts(home).items() >= before.items()
        assert len(before) == 3

    monkeypatch.setattr(local_engine, "score_parts", by_tasks)
    monkeypatch.setattr(service, "created_after", lambda _: datetime.fromisoformat(CREATED))
    settings = shop.settings_of(home, top_k=4)
    with settled_memory():  # a worker's process is settled for good
        service.score(settings, as_of_of(settings))
    assert published(home) == undisturbed


WORKER = """if True:
    import pickle, sys
    task, parts = pickle.load(sys.stdin.buffer)
    assert len(list(task(iter(parts)))) == len(parts)
    print([name for name in ("pandas", "sqlalchemy", "duckdb", "feast", "mxnet") if name in sys.modules])
"""


def test_a_worker_imports_no_library_that_it_has_no_use_for(home, undisturbed, monkeypatch):
    """Each takes a good part of the time that a new worker lets its core wait."""

    def in_a_process_of_its_own(settings, job, scorer, staging, parts, progress):
        artifact = settings.models / job.region / job.model_version
        sent = pickle.dumps((spark_engine.SparkTask(settings, job, artifact, staging), parts))
        done = subprocess.run([sys.executable, "-c", WORKER], input=sent, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout == b"[]\n"

    monkeypatch.setattr(local_engine, "score_parts", in_a_process_of_its_own)
    monkeypatch.setattr(service, "created_after", lambda _: datetime.fromisoformat(CREATED))
    settings = shop.settings_of(home, top_k=4)
    service.score(settings, as_of_of(settings))
    assert published(home) == undisturbed


def test_small_parts_share_a_task():
    held = parts_of(1_000_000, 8_000)
    assert (len(held), spark_engine.tasks_of(held)) == (62, 31)
    assert [spark_engine.tasks_of(held[:n]) for n in (1, 2, 9)] == [1, 2, 9]
    for n_rows in (0, 80, 60_000, 1_000_000):
        alone = parts_of(n_rows)
        assert spark_engine.tasks_of(alone) == len(alone)
        assert spark_engine.tasks_of(alone[:3]) == len(alone[:3])


@needs_spark
def test_spark_goes_on_where_the_local_engine_was_killed_to_the_same_bytes(home, undisturbed):
    running = start(home)
    wait_for_parts(running, home, 1)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    before = finished_parts(home)
    assert 1 <= len(before) < len(PARTS)
    running = start(home, **HERE)
    wait_for_parts(running, home, len(before) + 1)
    assert finished_parts(home).items() >= before.items()
    assert_ends_well(running)
    assert_whole(home, undisturbed)
    assert "WARN" in (home / "spark.log").read_text()


@needs_spark
def test_what_a_worker_raises_is_told_in_a_line(home):
    settings = shop.settings_of(home, top_k=4, scoring=ScoringSettings(engine="spark", spark_master="local[1]"))
    file = feature_file(settings, find_snapshot(settings, as_of_of(settings)), "purchases")
    content = bytearray(file.read_bytes())
    content[1000 : len(content) // 2] = bytes(len(content) // 2 - 1000)
    file.write_bytes(content)
    with pytest.raises(EngineError, match=r"^Spark gave up\. \w+Error: .*the same command scores the rest\.$"):
        service.score(settings, as_of_of(settings))
    assert published(home) == {}


@needs_spark
@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"PROPENSITY_SCORING__SPARK": '{"spark.driver.memory": "much"}'}, "Invalid maximum heap size: -Xmxmuch"),
        ({"PROPENSITY_SCORING__SPARK_MASTER": "sparc://x"}, "Master must either be yarn or start with spark"),
        ({"JAVA_HOME": "/nowhere"}, "Spark found no Java it runs on. On Debian: apt-get install openjdk-17"),
    ],
)
def test_why_spark_does_not_start_is_told_in_a_line(home, environment, told):
    done = shop.propensity(home, "score", "--as-of", shop.AS_OF, **HERE | {"PROPENSITY_TOP_K": "4"} | environment)
    assert done.returncode == 1
    assert done.stderr.startswith("error: Spark ")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


@needs_spark
def test_a_master_that_is_not_there_is_told_in_a_line(home):
    master = {"PROPENSITY_SCORING__SPARK_MASTER": "spark://127.0.0.1:1", "PROPENSITY_TOP_K": "4"}
    done = shop.propensity(home, "score", "--as-of", shop.AS_OF, **HERE | master)
    assert done.returncode == 1
    assert done.stderr.startswith("error: No Spark master answers at spark://127.0.0.1:1: Connection refused. Start")
    assert done.stderr.count("\n") == 1


@needs_spark
@pytest.mark.slow
@pytest.mark.timeout(900)
class TestOnACluster:
    """A master and two workers of one core; a part takes so short that a worker is stopped to be met at one."""

    def test_a_worker_killed_in_a_task_is_made_up_for(self, home, undisturbed, cluster):
        with Watch(home) as watch:
            running = start_on(cluster, home)
            attempt = cluster.stop_a_writer(home)
            wait_for_parts(running, home, 2)  # the other worker's
            before = finished_parts(home)
            cluster.kill(attempt.host)
            assert attempt.part not in before
            assert attempt.file.exists()
            assert_ends_well(running)
        assert_whole(home, undisturbed)
        assert published_inodes(home).items() >= before.items()
        assert CUSTOMERS in watch.seen
        lost = [event for event in cluster.events("TaskEnd") if event["Task End Reason"]["Reason"] != "Success"]
        assert len(lost) == 1
        assert lost[0]["Task Info"]["Host"] == attempt.host
        assert len(cluster.events("TaskStart")) == len(PARTS) + 1

    def test_a_driver_killed_and_started_again_does_the_missing_parts_only(self, home, undisturbed, cluster):
        with Watch(home) as watch:
            running = start_on(cluster, home)
            attempt = cluster.stop_a_writer(home)
            wait_for_parts(running, home, 2)
            # With its JVM, as a machine that fails takes them; executors find out by themselves.
            for process in (*psutil.Process(running.pid).children(recursive=True), psutil.Process(running.pid)):
                process.kill()
            running.communicate()
            before = finished_parts(home)
            assert 2 <= len(before) < len(PARTS)
            assert attempt.part not in before
            assert published(home) == {}
            attempt.let_go()
            again = start_on(cluster, home)
            assert_ends_well(again)
        assert_whole(home, undisturbed)
        assert published_inodes(home).items() >= before.items()
        assert len(cluster.events("TaskStart")) <= len(PARTS) - len(before)
        assert CUSTOMERS in watch.seen

    @pytest.mark.parametrize("woken", [False, True])
    def test_a_speculative_attempt_leaves_nothing_behind(self, home, undisturbed, cluster, woken):
        """The slow attempt is stopped until all is over, or goes on when the other one has begun: a race."""
        with Watch(home) as watch:
            running = start_on(cluster, home, **{"spark.speculation": "true", "spark.speculation.quantile": "0.5"})
            attempt = cluster.stop_a_writer(home)
            if woken:
                wait_until(running, lambda: len(list(attempt.file.parent.glob(f"{attempt.part}.*"))) == 2)
                attempt.let_go()
            assert_ends_well(running)
            attempt.let_go()
            attempt.wait()
        assert_whole(home, undisturbed)
        assert CUSTOMERS in watch.seen
        speculative = [event["Task Info"] for event in cluster.events("TaskStart") if event["Task Info"]["Speculative"]]
        assert len(speculative) == 1
        assert speculative[0]["Host"] != attempt.host
        assert len(cluster.events("TaskStart")) == len(PARTS) + 1

    def test_a_submitted_job_runs_where_it_was_submitted_to(self, home, cluster):
        options = [word for name, value in cluster.options.items() for word in ("--conf", f"{name}={value}")]
        spark_submit = Path(sys.executable).with_name("spark-submit")
        job = [shop.ROOT / "jobs/propensity_job.py", "score", "--as-of", shop.AS_OF]
        done = subprocess.run(
            [spark_submit, "--master", cluster.master, *options, *job],
            # Spark starts the job itself, by the first python3 on the PATH if not told another.
            env=shop.environment(
                home, PROPENSITY_TOP_K="4", PROPENSITY_SCORING__ENGINE="spark", PYSPARK_PYTHON=sys.executable
            ),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert f"{CUSTOMERS:,} customers by model" in done.stdout  # spark-submit puts both there
        assert sorted(published(home)) == PARTS
        assert len(cluster.events("TaskStart")) == len(PARTS)
        assert not (home / "spark.log").exists()


def start_on(cluster, home, **options):
    return start(home, PROPENSITY_SCORING__ENGINE="spark", **cluster.environment(**options))


def assert_ends_well(running):
    out, err = running.communicate()
    assert running.returncode == 0, err
    assert int(out.split()[0]) == CUSTOMERS
    told = [line for line in err.splitlines() if not line.startswith("Spark has begun no task for 30 s.")]
    assert told == []  # what Spark prints is in its log


def assert_whole(home, undisturbed):
    assert published(home) == undisturbed
    assert list(home.glob("lake/.unfinished/*")) == []
