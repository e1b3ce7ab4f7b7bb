"""A standalone Spark cluster of one master and two workers on loopback addresses, ended with the block.

Imported only where pyspark is installed. Every process is stopped and killed by its own id.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyspark  # type: ignore[import-not-found,unused-ignore]

HOSTS = ("127.0.0.2", "127.0.0.3")
PATIENCE = 120.0
"""Seconds to wait for what must happen."""


@dataclass(frozen=True)
class Attempt:
    """A part that is being written.

    Attributes:
        host: Of the Spark worker.
        process: Of Python on it, stopped.
        file: What it writes: a scoring below the unfinished run's `attempts`, a build in a directory of `.staging`.
    """

    host: str
    process: psutil.Process
    file: Path

    @property
    def part(self) -> str:
        """The part, as its file is named without a suffix."""
        return self.file.name.split(".")[0]

    def let_go(self) -> None:
        """Let the process go on; nothing if it's dead."""
        with suppress(psutil.NoSuchProcess):
            self.process.send_signal(signal.SIGCONT)

    def wait(self) -> None:
        """Wait until the process has ended."""
        self.process.wait(PATIENCE)


class Cluster:
    """Two workers of one core each.

    Attributes:
        master: Its URL.
        hosts: Of the workers.
    """

    hosts = HOSTS

    def __init__(self, directory: Path, memory: str = "1g") -> None:
        directory.mkdir()
        self._directory, self._memory = directory, memory
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.master = ""

    def __enter__(self) -> Cluster:
        try:
            self._start("master", "127.0.0.1", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0")
            self.master = self._wait("master", r"Starting Spark master at (spark://\S+)")
            for host in HOSTS:
                self._start(
                    "worker", host, "--host", host, "-c", "1", "-m", self._memory, "--webui-port", "0",
                    "-d", str(self._directory / f"work-{host}"), self.master,
                )  # fmt: skip
            for host in HOSTS:
                self._wait(host, r"(Successfully registered with master)")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        for name in (*HOSTS, "master"):
            self.kill(name)

    @property
    def options(self) -> dict[str, str]:
        """Options of an application on it that keeps a log of what happens."""
        return {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.eventLog.enabled": "true",
            "spark.eventLog.dir": self._log.as_uri(),
            "spark.eventLog.rolling.enabled": "false",
            "spark.eventLog.compress": "false",
        }

    def environment(self, **options: str) -> dict[str, str]:
        """Return the settings of a process whose Spark application runs on it, with further options."""
        return {
            "PROPENSITY_SCORING__SPARK_MASTER": self.master,
            "PROPENSITY_SCORING__SPARK": json.dumps(self.options | options),
        }

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return the last application's events of a kind, once it has ended."""
        newest = max(self._log.iterdir(), key=lambda file: file.stat().st_mtime_ns)
        events = [json.loads(line) for line in newest.read_text().splitlines()]
        return [event for event in events if event["Event"] == f"SparkListener{kind}"]

    def kill(self, name: str) -> None:
        """Kill the master, or a host's worker with its executor and that one's Python; nothing if it's dead."""
        if (process := self._processes.get(name)) is None:
            return
        for each in self.tree(name):
            with suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait()

    def tree(self, name: str) -> list[psutil.Process]:
        """Return a daemon's process and all below it; none where it's dead."""
        if (process := self._processes.get(name)) is None or process.poll() is not None:
            return []
        first = psutil.Process(process.pid)
        return [first, *first.children(recursive=True)]

    def executor(self, host: str) -> psutil.Process:
        """Return the JVM that runs an application's tasks on a host; its worker, which starts it, is another."""
        (found,) = [each for each in self.tree(host)[1:] if each.name() == "java"]
        return found

    def pids(self) -> Iterator[psutil.Process]:
        """Yield every process of the cluster that lives."""
        for name in ("master", *HOSTS):
            yield from self.tree(name)

    def stop_a_writer(self, home: Path) -> Attempt:
        """Stop the Python process of a worker (SIGSTOP) while it is writing a part of the home's, and return it."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            pythons = [(host, process) for host in HOSTS for process in self.tree(host) if _is_python(process)]
            for _ in range(50):  # to look for processes takes longer than a small part
                for host, process in pythons:
                    with suppress(psutil.NoSuchProcess):
                        if (file := _stopped_at(process, home)) is not None:
                            return Attempt(host, process, file)
                time.sleep(0.001)
        raise TimeoutError("no worker writes")

    @property
    def _log(self) -> Path:
        directory = self._directory / "events"
        directory.mkdir(exist_ok=True)
        return directory

    def _start(self, kind: str, host: str, *arguments: str) -> None:
        spark = Path(pyspark.__file__).parent
        name = "master" if kind == "master" else host
        with (self._directory / name).open("wb") as file:
            self._processes[name] = subprocess.Popen(
                [str(spark / "bin/spark-class"), f"org.apache.spark.deploy.{kind}.{kind.capitalize()}", *arguments],
                env={**os.environ, "SPARK_LOCAL_IP": host, "SPARK_HOME": str(spark)},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait(self, name: str, pattern: str) -> str:
        until, log = time.monotonic() + PATIENCE, self._directory / name
        while time.monotonic() < until:
            if found := re.search(pattern, log.read_text(errors="replace")):
                return found.group(1)
            assert self._processes[name].poll() is None, log.read_text()
            time.sleep(0.1)
        raise TimeoutError(log.read_text())


def _is_python(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.name().startswith("python")
    return False


def _stopped_at(process: psutil.Process, home: Path) -> Path | None:
    """Stop a process; where it is writing a part let it be and return the file, else let it go on."""
    process.send_signal(signal.SIGSTOP)
    while process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
        time.sleep(0.0005)
    for each in process.open_files():
        file = Path(each.path)
        if home in file.parents and _is_unfinished(file):
            return file
    process.send_signal(signal.SIGCONT)
    return None


def _is_unfinished(file: Path) -> bool:
    """Return whether a file is one that a scoring's or a build's task writes."""
    return (file.parent.name == "attempts" and ".parquet." in file.name) or file.parent.parent.name == ".staging"
