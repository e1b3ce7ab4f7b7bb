"""A standalone Spark cluster of one master and two workers on loopback addresses, ended with the block."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pyspark  # type: ignore[import-not-found,unused-ignore]


class Cluster:
    """Two workers of one core each; every process is killed by its own id at the end.

    Attributes:
        master: Its URL.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._directory = directory
        self._processes: list[subprocess.Popen[bytes]] = []
        self.master = ""

    def __enter__(self) -> Cluster:
        try:
            self._start("master", "127.0.0.1", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0")
            self.master = self._wait("master", r"Starting Spark master at (spark://\S+)")
            for number in (2, 3):
                host = f"127.0.0.{number}"
                self._start(
                    "worker", host, "--host", host, "-c", "1", "-m", "1g", "--webui-port", "0",
                    "-d", str(self._directory / host), self.master,
                )  # fmt: skip
                self._wait(f"worker-{host}", r"(Successfully registered with master)")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def kill_a_worker(self) -> None:
        """Kill the last worker and its executor."""
        os.killpg(self._processes[-1].pid, signal.SIGKILL)

    def _start(self, kind: str, host: str, *arguments: str) -> None:
        home = Path(pyspark.__file__).parent
        log = self._directory / ("master" if kind == "master" else f"worker-{host}")
        with log.open("wb") as file:
            self._processes.append(
                subprocess.Popen(
                    [
                        str(home / "bin" / "spark-class"),
                        f"org.apache.spark.deploy.{kind}.{kind.capitalize()}",
                        *arguments,
                    ],
                    env={**os.environ, "SPARK_LOCAL_IP": host, "SPARK_HOME": str(home)},
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )

    def _wait(self, log: str, pattern: str, seconds: float = 120.0) -> str:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = re.search(pattern, (self._directory / log).read_text(errors="replace"))
            if found:
                return found.group(1)
            assert all(process.poll() is None for process in self._processes), (self._directory / log).read_text()
            time.sleep(0.1)
        raise TimeoutError((self._directory / log).read_text())
