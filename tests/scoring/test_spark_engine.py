"""The Spark engine beside the local one: the same bytes, and nothing twice or missing whatever dies."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from propensity.errors import EngineError, RuntimeMissingError
from propensity.features.snapshots import find_snapshot
from propensity.scoring import service
from propensity.scoring_settings import ScoringSettings
from tests import shop
from tests.scoring.large_snapshot import (
    CUSTOMERS,
    PARTS,
    as_of_of,
    feature_file,
    finish,
    finished_parts,
    published,
    start,
)

HERE = {"PROPENSITY_SCORING__ENGINE": "spark", "PROPENSITY_SCORING__SPARK_MASTER": "local[2]"}

needs_spark = pytest.mark.skipif(
    importlib.util.find_spec("pyspark") is None or shutil.which("java") is None,
    reason="pyspark or Java isn't installed: make spark",
)


@pytest.fixture
def home(large_home, tmp_path) -> Path:
    return shutil.copytree(large_home, tmp_path / "home")


def wait_for_parts(running, home, parts):
    while running.poll() is None and len(finished_parts(home)) < parts:
        time.sleep(0.005)
    assert running.poll() is None, running.communicate()[1]


def test_without_spark_the_error_says_how_to_get_it(finished_home, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyspark", None)
    settings = shop.settings_of(finished_home, top_k=3, scoring=ScoringSettings(engine="spark"))
    with pytest.raises(RuntimeMissingError, match=r"make spark"):
        service.score(settings, as_of_of(settings))


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
    out, err = running.communicate()
    assert running.returncode == 0, err
    assert int(out.split()[0]) == CUSTOMERS
    assert published(home) == undisturbed


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
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_on_a_cluster_a_killed_worker_a_killed_driver_and_speculation_leave_every_part_once(
    home, undisturbed, tmp_path
):
    from tests.scoring.spark_cluster import Cluster  # noqa: PLC0415 - imports pyspark

    speculative = '{"spark.speculation": "true", "spark.speculation.quantile": "0.1", "spark.driver.host": "127.0.0.1"}'
    with Cluster(tmp_path / "cluster") as cluster:
        options = HERE | {"PROPENSITY_SCORING__SPARK_MASTER": cluster.master, "PROPENSITY_SCORING__SPARK": speculative}
        running = start(home, **options)
        wait_for_parts(running, home, 1)
        cluster.kill_a_worker()
        wait_for_parts(running, home, 2)
        running.send_signal(signal.SIGKILL)
        running.communicate()
        before = finished_parts(home)
        assert 2 <= len(before) < len(PARTS)
        assert published(home) == {}
        assert finish(home, **options)[0] == CUSTOMERS
    assert published(home) == undisturbed
    assert list(home.glob("lake/.unfinished/*")) == []
