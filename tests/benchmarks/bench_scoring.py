"""Scoring from the lake to a published lake, beside what the scorer and the disk can do each by itself.

A net of the published system's kind (200,000 features, 80 of them in a row, 256-128 hidden, 2,000 categories; its
weights are made up) scores made-up customers. `compute` is `Scorer.score` over batches that are in memory, results
dropped, on as many threads; `disk` is one file written from memory from end to end: through the kernel's page cache,
with fsync, and past it (O_DIRECT). Both and each output form run in processes of their own, one after the other, and
compute before and after each form, since a shared machine is fast and slow by turns. A form's time is that of
`scoring.service.score`, its memory is that of the whole process at its highest.

Run by `make bench`, or: python tests/benchmarks/bench_scoring.py --customers 100000 1000000
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

from blas_kernel import blas_kernel

HERE = Path(__file__).resolve().parent
FORMS = ("full", "compact", "above_threshold", "top_k")
DISK_BYTES, DISK_BLOCK = 2**31, 2**23
COMPUTE_ROWS, COMPUTE_BATCH, COMPUTE_SECONDS = 32_768, 4_096, 6.0


def disk(directory: Path) -> dict[str, float]:
    """Return bytes written in a second, by way of the page cache and past it."""
    return {"cached": _written(directory, 0), "direct": _written(directory, os.O_DIRECT)}


def _written(directory: Path, flags: int) -> float:
    block = mmap.mmap(-1, DISK_BLOCK)  # direct writes are of whole pages
    block.write(os.urandom(DISK_BLOCK))
    file = directory / "sequential"
    started = time.perf_counter()
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags)
    for _ in range(DISK_BYTES // DISK_BLOCK):
        assert os.write(descriptor, block) == DISK_BLOCK
    os.fsync(descriptor)
    os.close(descriptor)
    seconds = time.perf_counter() - started
    file.unlink()
    return DISK_BYTES / seconds


def compute(home: Path) -> dict[str, float]:
    """Return rows scored in a second, by threads that take one batch after the other for some seconds."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415
    from itertools import cycle  # noqa: PLC0415

    from scoring_home import AS_OF, VERSION  # noqa: PLC0415
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    from propensity.features.snapshot_reader import read_snapshot  # noqa: PLC0415
    from propensity.features.snapshots import find_snapshot  # noqa: PLC0415
    from propensity.scoring.scorer import Scorer  # noqa: PLC0415
    from propensity.settings import Settings  # noqa: PLC0415

    settings = Settings(home=home)
    batches = list(read_snapshot(settings, find_snapshot(settings, AS_OF), COMPUTE_BATCH, range(COMPUTE_ROWS)))
    scorer = Scorer.open(settings.models / settings.region / VERSION, top_k=settings.top_k)

    def work(number: int) -> tuple[int, float]:
        rows, started = 0, time.perf_counter()
        for batch in cycle(batches[number % len(batches) :] + batches[: number % len(batches)]):
            rows += scorer.score(batch).num_rows
            if (seconds := time.perf_counter() - started) > COMPUTE_SECONDS:
                return rows, seconds
        raise AssertionError

    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(settings.threads) as pool:
        list(pool.map(scorer.score, batches[: settings.threads]))  # what the first call alone does
        done = list(pool.map(work, range(settings.threads)))
    return {"rows": sum(rows / seconds for rows, seconds in done)}


def score(home: Path) -> dict[str, float]:
    """Score and publish; return rows, seconds, processor seconds, bytes and highest memory."""
    from scoring_home import AS_OF, VERSION  # noqa: PLC0415

    from propensity.scoring.service import score as score_and_publish  # noqa: PLC0415
    from propensity.settings import Settings  # noqa: PLC0415

    settings = Settings(home=home)
    wall, cpu = time.perf_counter(), time.process_time()
    result = score_and_publish(settings, AS_OF, VERSION)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    directory = next(settings.lake.glob(f"category_propensity/*/*/run={result.run.run_id}"))
    return {
        "rows": result.run.rows,
        "seconds": wall,
        "cpu": cpu,
        "bytes": sum(file.stat().st_size for file in directory.iterdir()),
        # Not getrusage's: Linux counts in what the caller held at the start.
        "peak": int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024,
    }


def worker(what: str, directory: Path, **settings: str) -> dict[str, Any]:
    """Measure one thing in a process of its own."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("PROPENSITY_")}
    command = [sys.executable, __file__, "--worker", what, str(directory)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=others | {"TZ": "UTC"} | settings)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(directory: Path, customers: int, options: argparse.Namespace) -> None:
    """Print the table of one number of customers."""
    home = directory / "home"
    arguments = [str(home), str(customers), str(options.categories)]
    subprocess.run([sys.executable, str(HERE / "scoring_home.py"), *arguments], check=True)
    subprocess.run(["sync"], check=True)
    threads = {"PROPENSITY_THREADS": str(options.threads)}
    speed, rates = worker("disk", directory), [worker("compute", home, **threads)["rows"]]
    print(f"{customers:,} customers, {options.categories:,} categories, {options.threads} threads, {blas_kernel()}")
    print(f"disk {speed['cached'] / 1e6:,.0f} MB/s, direct {speed['direct'] / 1e6:,.0f} MB/s")
    print("form               rows/s  of compute  of disk  of direct  CPU µs/row  bytes/row  peak MB")
    for form in options.forms:
        found = worker("score", home, PROPENSITY_SCORING__OUTPUT=form, **threads)
        rates.append(worker("compute", home, **threads)["rows"])
        rows = found["rows"] / found["seconds"]
        each = found["bytes"] / found["rows"]
        print(
            f"{form:16} {rows:8,.0f} {rows / mean(rates[-2:]):11.0%} "
            f"{rows * each / speed['cached']:8.0%} {rows * each / speed['direct']:10.0%} "
            f"{found['cpu'] / found['rows'] * 1e6:11.1f} {each:10,.0f} {found['peak'] / 1e6:8,.0f}",
            flush=True,
        )
        shutil.rmtree(home / "lake" / "category_propensity")
        subprocess.run(["sync"], check=True)  # the next one writes to a disk that is idle
    print(f"compute {mean(rates):,.0f} rows/s, {min(rates):,.0f} to {max(rates):,.0f}", flush=True)
    shutil.rmtree(home)


def main() -> None:
    """Print a table for each number of customers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, nargs="+", default=[50_000, 250_000])
    parser.add_argument("--categories", type=int, default=2_000)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--directory", type=Path, help="on the disk to measure, by default the system's for such files")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        what, place = options.worker
        print(json.dumps({"disk": disk, "compute": compute, "score": score}[what](Path(place))))
        return
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        for customers in options.customers:
            measure(Path(directory), customers, options)


if __name__ == "__main__":
    main()
