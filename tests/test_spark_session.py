"""What is told where Spark can't begin, waits or gives up; test_spark_build.py and test_spark_engine.py run Spark."""

from __future__ import annotations

import socket
import time
from types import SimpleNamespace

import pytest

from propensity import spark_session, spark_waiting
from propensity.errors import EngineError
from tests import shop


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(spark_waiting, "MASTER_SECONDS", 0.0)
    monkeypatch.setattr(spark_waiting, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(spark_waiting, "PATIENCE_SECONDS", 0.05)


@pytest.fixture
def silent_port():
    """A port of this machine that nobody listens at, kept from others."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_a_master_that_does_not_answer_is_named(silent_port):
    master = f"spark://127.0.0.1:{silent_port}"
    with pytest.raises(EngineError) as raised:
        spark_waiting.await_master(master)
    assert str(raised.value) == (
        f"No Spark master answers at {master}: Connection refused. Start one there, or name another: --master, or "
        "PROPENSITY_SCORING__SPARK_MASTER."
    )


def test_one_of_several_masters_is_enough(silent_port, monkeypatch):
    monkeypatch.setattr(spark_waiting, "MASTER_SECONDS", 60.0)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        spark_waiting.await_master(f"spark://127.0.0.1:{silent_port},127.0.0.1:{listening.getsockname()[1]}")


def test_a_master_may_come_a_little_later(silent_port, monkeypatch):
    monkeypatch.setattr(spark_waiting, "MASTER_SECONDS", 60.0)
    asked = []

    def connect(address, timeout, real=socket.create_connection):
        asked.append(address)
        return real((address[0], listening.getsockname()[1]) if len(asked) > 1 else address, timeout)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setattr(socket, "create_connection", connect)
        spark_waiting.await_master(f"spark://127.0.0.1:{silent_port}")
    assert asked == 2 * [("127.0.0.1", silent_port)]


@pytest.mark.parametrize("master", ["local[2]", "yarn", "k8s://https://127.0.0.1:1"])
def test_other_masters_are_sparks_affair(master):
    spark_waiting.await_master(master)


class Context:
    """A SparkContext with one stage, which has so many tasks at work."""

    def __init__(self) -> None:
        self.at_work, self.asked = 0, 0

    def statusTracker(self):
        return self

    def getActiveStageIds(self):
        self.asked += 1
        return [1]

    def getStageInfo(self, number):
        return SimpleNamespace(numActiveTasks=self.at_work)

    def getConf(self):
        return {"spark.master": "spark://127.0.0.1:7077"}

    def be_asked(self, times):
        until = self.asked + times
        while self.asked < until:
            time.sleep(0.005)


def test_that_no_worker_takes_a_task_is_told_once_each_time(caplog):
    context = Context()

    def be_told(times):
        while len(caplog.messages) < times:
            time.sleep(0.005)
        context.be_asked(20)
        assert len(caplog.messages) == times

    with spark_waiting.idle_told(context):
        be_told(1)
        context.at_work = 2
        context.be_asked(20)
        context.at_work = 0  # all workers have died
        be_told(2)
    assert caplog.messages[0] == (
        "Spark has begun no task for 0 s. Has spark://127.0.0.1:7077 workers with 1g of memory "
        "(spark.executor.memory) and a core to spare?"
    )


FOOTER = """An error occurred while calling o49.parquet.
: org.apache.spark.SparkException: [FAILED_READ_FILE.CANNOT_READ_FILE_FOOTER] Can't read {home}/lake/a.parquet.
\tat org.apache.spark.Some.method(Some.scala:1)
"""
ABORTED = """Job aborted due to stage failure: Lost task 0.3 in stage 0.0 (TID 3) (127.0.0.2 executor 0): \
org.apache.spark.SparkException: Task failed: java.io.FileNotFoundException: File {home}/lake/a.parquet does not exist
\tat org.apache.spark.Some.method(Some.scala:1)
"""
RAISED = """An exception was thrown from the Python worker. Please see the stack trace below.
Traceback (most recent call last):
  File "spark_parts.py", line 1, in __call__
FileNotFoundError: [Errno 2] Failed to open local file '{home}/lake/.staging/1/a.parquet'
"""
SEE = "Do all machines see the home under {home}, and may they read and write there?"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (FOOTER, "[FAILED_READ_FILE.CANNOT_READ_FILE_FOOTER] Can't read {home}/lake/a.parquet. " + SEE),
        (ABORTED, "FileNotFoundException: File {home}/lake/a.parquet does not exist. " + SEE),
        (
            RAISED,
            "FileNotFoundError: [Errno 2] Failed to open local file '{home}/lake/.staging/1/a.parquet'. " + SEE,
        ),
        ("ValueError: 7 is too many\nTraceback", "ValueError: 7 is too many."),
        ("Something else", "Something else."),
    ],
)
def test_why_spark_gave_up_is_told_in_a_line_and_where_to_look(said, told, tmp_path):
    settings = shop.settings_of(tmp_path)
    assert spark_session._told(ValueError(said.format(home=tmp_path)), settings) == told.format(home=tmp_path)


@pytest.mark.parametrize("said", ["Cannot call methods on a stopped SparkContext.", "SparkContext was shut down"])
def test_an_application_that_ended_by_itself_says_why(said, tmp_path):
    settings = shop.settings_of(tmp_path)
    log = "26/11/29 17:52:00 WARN X: y\n26/11/29 17:52:01 ERROR Backend: All masters are unresponsive!\n"
    (tmp_path / spark_session.LOG).write_text(log)
    assert spark_session._told(ValueError(f"An error occurred while calling o1.\n: java.X: {said}"), settings) == (
        "All masters are unresponsive! Check scoring.spark_master and scoring.spark: propensity config."
    )
