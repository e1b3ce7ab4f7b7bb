"""Building a snapshot and labels by Spark beside DuckDB: the same simulated events, at several sizes.

Each build is the command that a user types, in a process of its own, on a copy of the home with the imported events:
what it takes holds the start of Python and of Spark's JVMs. Spark runs in one JVM with two cores, `local[2]`; with
`--cluster` also on a master and two workers of one core, on this machine. Processor time is that of all processes that
the command has started, told by the system when the last of them has ended; on a cluster the executors' and what the
daemons used meanwhile. Peak is the most memory that all of them had at one moment, sampled, shared pages counted once.
Both engines have to build as many rows, entries and positives, of the same sums.

Needs `make spark`. Run by `make bench`, or: python tests/benchmarks/bench_spark_build.py --customers 20000 --cluster
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).resolve().parent
CORES = 2
AS_OF = "2024-01-01"
DAYS = 400
"""From 2023-01-01: a year before the as_of, and the label window after it."""
SAMPLE_SECONDS = 0.2
SUBREAPER = 36
"""Linux's PR_SET_CHILD_SUBREAPER: who outlives its parent becomes this process's child, which then is told its use."""
TABLES = {
    "features": ("customer_purchases", "customer_products", "customer_promotions", "customer_profile"),
    "labels": ("category_labels",),
}
ENGINES = {"DuckDB": None, "Spark, local[2]": f"local[{CORES}]", "Spark, 2 workers": "cluster"}


class PeakMemory(Thread):
    """Samples what all processes below this one have together, bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._over, self.peak = Event(), 0

    def run(self) -> None:
        import psutil  # noqa: PLC0415

        while not self._over.wait(SAMPLE_SECONDS):
            pids = [process.pid for process in psutil.Process().children(recursive=True)]
            self.peak = max(self.peak, sum(memory_of(pid) for pid in pids))

    def stop(self) -> int:
        self._over.set()
        self.join()
        return self.peak


def memory_of(pid: int) -> int:
    """Return a process's memory, each page divided among those that share it, bytes; 0 where it's gone."""
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/smaps_rollup").read_text().split("\nPss:")[1].split()[0]) * 1024
    return 0


def measure(master: str, command: list[str]) -> dict[str, float]:
    """Run a command to its end; return seconds, processor seconds and peak bytes of it and all that it started.

    Args:
        master: `cluster` to run it on one, which ends with it; else it is run as it is.
        command: With its arguments.
    """
    if ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0):
        raise OSError("prctl: this kernel has no subreaper")
    environment, before = dict(os.environ), 0.0
    with tempfile.TemporaryDirectory() as directory:
        if master == "cluster":
            sys.path.insert(0, str(HERE.parents[1]))  # for the tests' cluster
            from tests.scoring.spark_cluster import Cluster  # noqa: PLC0415

            place: Any = Cluster(Path(directory) / "cluster")
        else:
            place = nullcontext()
        with place as cluster:
            if cluster is not None:
                environment |= {"PROPENSITY_SCORING__SPARK_MASTER": cluster.master}
                before = sum(sum(process.cpu_times()[:2]) for process in cluster.pids())
            memory = PeakMemory()
            memory.start()
            started = time.monotonic()
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            seconds = time.monotonic() - started
            peak = memory.stop()
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    with suppress(ChildProcessError):
        while True:  # the JVM ends after the command
            os.wait()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"seconds": seconds, "cpu": used.ru_utime + used.ru_stime - before, "peak": peak}


@dataclass(frozen=True)
class Taken:
    """What builds took: seconds, processor seconds, bytes at the peak; and what is in the tables, to compare."""

    seconds: float
    cpu: float
    peak: float
    contents: dict[str, float]


def build(kind: str, home: Path, engine: str, spark: str) -> Taken:
    """Build in a process of its own, with Spark's options as JSON; return what it took and what came of it."""
    master = ENGINES[engine]
    options = {
        "PROPENSITY_FEATURES__ENGINE": "local" if master is None else "spark",
        "PROPENSITY_SCORING__SPARK": spark,
    }
    if master is not None and master != "cluster":
        options["PROPENSITY_SCORING__SPARK_MASTER"] = master
    command = [*propensity(), kind, "build", "--as-of", AS_OF]
    done = subprocess.run(
        [sys.executable, __file__, "--measure", str(master), *command],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment_of(home, options),
    )
    return Taken(**json.loads(done.stdout), contents=contents(kind, home))


def contents(kind: str, home: Path) -> dict[str, float]:
    """Return counts and sums of what has been built, by table."""
    import duckdb  # noqa: PLC0415

    lists = ("label_categories", "label_classes") if kind == "labels" else ("indices", "values")
    found: dict[str, float] = {}
    for table in TABLES[kind]:
        rows = duckdb.sql(
            f"SELECT count(*), count(DISTINCT customer_id), sum(len({lists[0]})), sum(list_sum({lists[0]})), "
            f"sum(list_sum({lists[1]})) "
            f"FROM read_parquet('{home}/lake/{table}/*/*/*/*.parquet', hive_partitioning = false)"
        ).fetchall()
        names = ("rows", "customers", "entries", f"sum of {lists[0]}", f"sum of {lists[1]}")
        found |= {f"{table} {name}": float(value or 0) for name, value in zip(names, rows[0], strict=True)}
    return found


def same(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Return whether all are equal, but for the last decimal of some values."""
    return one.keys() == other.keys() and all(
        math.isclose(one[name], other[name], rel_tol=1e-6 if name.endswith("values") else 0.0) for name in one
    )


def propensity() -> list[str]:
    return [sys.executable, "-c", "from propensity.cli import main; main()"]


def environment_of(home: Path, options: dict[str, str]) -> dict[str, str]:
    """Return the environment of a command on that home, without the caller's settings."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("PROPENSITY_")}
    mine = {"PROPENSITY_HOME": str(home), "PROPENSITY_THREADS": str(CORES), "SPARK_LOCAL_IP": "127.0.0.1"}
    return others | mine | options


def compare(directory: Path, customers: int, engines: list[str], spark: str) -> bool:
    """Print the builds of one size; return whether both engines built the same."""
    imported = directory / "imported"
    simulated = subprocess.run(
        [*propensity(), "simulate", "--customers", str(customers), "--days", str(DAYS), "--start", "2023-01-01"],
        check=True,
        capture_output=True,
        text=True,
        env=environment_of(imported, {}),
    )
    n_events = simulated.stderr.split("simulate")[1].split()[0]
    equal = True
    for kind in TABLES:
        first: Taken | None = None
        for engine in engines:
            home = directory / "home"
            shutil.copytree(imported, home)
            taken = build(kind, home, engine, spark)
            shutil.rmtree(home)
            first = first or taken
            equal = equal and same(first.contents, taken.contents)
            print(
                f"{customers:9,} {n_events:>11} {kind:9} {engine:16} {taken.seconds:8.1f} {taken.cpu:8.1f} "
                f"{taken.peak / 1e6:9,.0f} {taken.seconds / first.seconds:8.1f} {taken.cpu / first.cpu:9.1f}",
                flush=True,
            )
    return equal


def main() -> None:
    """Print the comparison, or that Spark isn't there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, nargs="+", default=[500, 2_000], help="350 events each")
    parser.add_argument("--cluster", action="store_true", help="also on a master and two workers on this machine")
    parser.add_argument("--conf", nargs="*", default=[], help="options of Spark, e.g. spark.driver.memory=4g")
    parser.add_argument("--directory", type=Path, help="for homes, by default the system's for such files")
    parser.add_argument("--measure", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        master, *command = options.measure
        print(json.dumps(measure(master, command)))
        return
    if importlib.util.find_spec("pyspark") is None or shutil.which("java") is None:
        print("Spark or Java isn't installed, so there is nothing to compare. Install them with: make spark")
        return
    engines = [engine for engine, master in ENGINES.items() if options.cluster or master != "cluster"]
    print(f"{CORES} cores for each; {os.cpu_count()} here, {os.getloadavg()[0]:.1f} processes at work on them before")
    print("customers      events builds    engine           seconds    CPU s  peak MB × DuckDB's × its CPU")
    spark, equal = json.dumps(dict(option.split("=", 1) for option in options.conf)), True
    for customers in options.customers:
        with tempfile.TemporaryDirectory(dir=options.directory) as directory:
            equal = compare(Path(directory), customers, engines, spark) and equal
    print("the same counts and sums" if equal else "DIFFERENT RESULTS", flush=True)
    if not equal:
        sys.exit(1)


if __name__ == "__main__":
    main()
