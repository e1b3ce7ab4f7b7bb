"""The Spark engine beside the local one: the same customers, from the lake to the published lake, in one run.

A master and two workers of one core, all on this machine's loopback, beside the local engine with two threads, on the
home of bench_scoring.py. `of local` is the ratio of rows a second to those of a local run before and one after, in the
mean. An application's start-up is what passes from the call until its first task is launched: the driver's JVM,
registering, the executors' JVMs; that a worker's Python imports the package and opens the model is counted as work.
Processor time is that of the driver, the workers and the executors, not the master's, nor what a process used in its
last second. Both publications have to have the same bytes.

Needs `make spark`. Run by `make bench`, or: python tests/benchmarks/bench_spark.py --customers 1000000
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from blas_kernel import blas_kernel

if TYPE_CHECKING:
    from tests.scoring.spark_cluster import Cluster

HERE = Path(__file__).resolve().parent
CORES = 2
SAMPLE_SECONDS = 1.0


def score(home: Path) -> dict[str, float]:
    """Score and publish by the engine that the settings name; return rows, the begin, seconds, processor seconds."""
    from scoring_home import AS_OF, VERSION  # noqa: PLC0415

    from propensity.scoring import service  # noqa: PLC0415
    from propensity.settings import load_settings  # noqa: PLC0415

    # Two homes can hold the same bytes only if they were written at the same time.
    service.created_after = lambda newest: AS_OF
    settings = load_settings(home=home)
    begun, wall, cpu = time.time(), time.perf_counter(), time.process_time()
    result = service.score(settings, AS_OF, VERSION)
    return {
        "rows": result.run.rows,
        "begun": begun,
        "seconds": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "peak": peak_of("self"),
    }


def peak_of(process: int | str) -> int:
    """Return the most memory that a process had, bytes; 0 where it's gone."""
    try:
        return int(Path(f"/proc/{process}/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        return 0


class Sampler(Thread):
    """Reads every second what processor time and memory the processes of cluster and driver have had."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(daemon=True)
        self._cluster, self._over = cluster, Event()
        self._before = {process.pid: seconds(process) for process in cluster.pids()}
        self.cpu: dict[tuple[str, int], float] = {}
        self.peak: dict[str, int] = {}

    def run(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            self.sample()

    def sample(self) -> None:
        import psutil  # noqa: PLC0415

        for process in (*self._cluster.pids(), *psutil.Process().children(recursive=True)):
            try:
                kind = "JVM" if process.name() == "java" else "Python"
                used = seconds(process) - self._before.get(process.pid, 0.0)
            except psutil.NoSuchProcess:
                continue
            self.cpu[kind, process.pid] = used
            self.peak[kind] = max(self.peak.get(kind, 0), peak_of(process.pid))

    def stop(self) -> dict[str, float]:
        """Return processor seconds by kind of process."""
        self._over.set()
        self.join()
        return {kind: sum(used for (of, _), used in self.cpu.items() if of == kind) for kind in ("Python", "JVM")}


def seconds(process: Any) -> float:
    """Return a process's own processor seconds."""
    times = process.cpu_times()
    return float(times.user + times.system)


def worker(home: Path, **settings: str) -> dict[str, Any]:
    """Score in a process of its own."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("PROPENSITY_")}
    command = [sys.executable, __file__, "--worker", str(home)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=others | {"TZ": "UTC"} | settings)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def on_spark(home: Path, directory: Path, spark: dict[str, str]) -> dict[str, Any]:
    """Score on a cluster that lives as long; return what `score` does, the JVMs' share, and what the tasks took."""
    from tests.scoring.spark_cluster import Cluster  # noqa: PLC0415

    with Cluster(directory / "cluster") as cluster:
        sampler = Sampler(cluster)
        sampler.start()
        found = worker(
            home,
            PROPENSITY_SCORING__ENGINE="spark",
            PROPENSITY_SCORING__SPARK_MASTER=cluster.master,
            PROPENSITY_SCORING__SPARK=json.dumps(cluster.options | spark),
        )
        used = sampler.stop()
        tasks = [event["Task Info"] for event in cluster.events("TaskEnd")]
        # Python processes of the cluster: in `used` the driver's, too.
        return found | {
            "cpu": used["Python"] + used["JVM"],
            "jvm": used["JVM"],
            "peak": sampler.peak["Python"],
            "peak_jvm": sampler.peak["JVM"],
            "start_up": min(task["Launch Time"] for task in tasks) / 1000 - found["begun"],
            "span": (max(task["Finish Time"] for task in tasks) - min(task["Launch Time"] for task in tasks)) / 1000,
            "tasks": [(task["Finish Time"] - task["Launch Time"]) / 1000 for task in tasks],
        }


def sums(home: Path) -> dict[str, str]:
    """Return the SHA-256 of each published file, by name."""
    found = {}
    for path in sorted(home.glob("lake/category_propensity/*/*/*/*.parquet")):
        with path.open("rb") as file:
            found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def copy(source: str, target: str) -> None:
    """Link what is never written to, copy the rest."""
    if source.endswith((".parquet", ".safetensors")):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def measure(directory: Path, options: argparse.Namespace) -> None:
    """Print the comparison."""
    home, other = directory / "local", directory / "spark"
    arguments = [str(home), str(options.customers), str(options.categories)]
    subprocess.run([sys.executable, str(HERE / "scoring_home.py"), *arguments], check=True)
    shutil.copytree(home, other, copy_function=copy)
    subprocess.run(["sync"], check=True)
    local = worker(home, PROPENSITY_THREADS=str(CORES))
    written = sums(home)
    shutil.rmtree(home / "lake" / "category_propensity")
    subprocess.run(["sync"], check=True)  # the next one writes to a disk that is idle
    spark = on_spark(other, directory, dict(option.split("=", 1) for option in options.conf))
    same = sums(other) == written
    shutil.rmtree(other)
    subprocess.run(["sync"], check=True)
    again = worker(home, PROPENSITY_THREADS=str(CORES))
    shutil.rmtree(home)
    local = {name: mean((local[name], again[name])) for name in local}
    rate = local["rows"] / local["seconds"]
    print(f"{options.customers:,} customers, {options.categories:,} categories, {CORES} cores, {blas_kernel()}")
    print("engine            rows/s  of local  CPU µs/row  of it JVM  peak MB of a Python  of a JVM")
    for name, taken, used in (
        ("local", local["seconds"], local | {"jvm": 0.0, "peak_jvm": 0.0}),
        ("Spark", spark["seconds"], spark),
        ("after start-up", spark["seconds"] - spark["start_up"], spark),
    ):
        speed = used["rows"] / taken
        print(
            f"{name:14} {speed:9,.0f} {speed / rate:9.0%} {used['cpu'] / used['rows'] * 1e6:11.1f} "
            f"{used['jvm'] / used['rows'] * 1e6:10.1f} {used['peak'] / 1e6:20,.0f} {used['peak_jvm'] / 1e6:9,.0f}"
        )
    tasks = spark["tasks"]
    print(
        f"start-up {spark['start_up']:.1f} s; {len(tasks)} tasks of {min(tasks):.1f} to {max(tasks):.1f} s, the first "
        f"{tasks[0]:.1f} s; cores in tasks {sum(tasks) / CORES / spark['span']:.0%} of the time between the first's "
        f"launch and the last's end, {spark['seconds'] - spark['start_up'] - spark['span']:.1f} s after it"
    )
    print("the same bytes" if same else "DIFFERENT BYTES", flush=True)
    if not same:
        sys.exit(1)


def main() -> None:
    """Print the comparison, or that Spark isn't there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--categories", type=int, default=2_000)
    parser.add_argument("--directory", type=Path, help="for home and lakes, by default the system's for such files")
    parser.add_argument("--conf", nargs="*", default=[], help="further options of Spark, e.g. spark.task.maxFailures=1")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(score(options.worker)))
        return
    if importlib.util.find_spec("pyspark") is None or shutil.which("java") is None:
        print("Spark or Java isn't installed, so there is nothing to compare. Install them with: make spark")
        return
    sys.path.insert(0, str(HERE.parents[1]))  # for the tests' cluster
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        measure(Path(directory), options)


if __name__ == "__main__":
    main()
