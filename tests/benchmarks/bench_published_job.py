"""The published system's job, 300 million customers x 200,000 features x 3,000 categories, from what is measured here.

A net of its kind and made-up customers (scoring_home.py) are scored from the lake to the published lake, as
bench_scoring.py does it, with the same processes: some numbers of customers, each output form, all cores of this
machine; and one form on one core alone. Opening the model and opening a snapshot of all those customers are measured by
themselves, the latter on files with as many row groups and one customer in each. The rest follows from a core's rate
(published_job.py) and is extrapolated; the page says so.

It prints Markdown; with --write it becomes the last section of docs/published_job.md.

Run by `make bench`, or: python tests/benchmarks/bench_published_job.py --write
In seconds: python tests/benchmarks/bench_published_job.py --customers 8192 16384 32768 --categories 100
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import bench_scoring
import published_job_figures
from bench_scoring import FORMS, HERE
from published_job import Opening, Sample

PAGE = HERE.parents[1] / "docs" / "published_job.md"
HEADING = "## The figures\n"
THREADS = len(os.sched_getaffinity(0))
PRICE = 0.82112 / 16
"""Dollars for a core hour: c7a.4xlarge of Amazon EC2, us-east-1, on demand; the page names the source."""


def sample(home: Path, customers: int, categories: int, *, alone: bool) -> Sample:
    """Make a home and measure all forms in it."""
    arguments = [str(home), str(customers), str(categories)]
    subprocess.run([sys.executable, str(HERE / "scoring_home.py"), *arguments], check=True)
    size, non_zeros = features_in(home)
    forms = {form: score(home, form, THREADS) for form in FORMS}
    one: dict[str, dict[str, float]] = {}
    if alone:
        with one_core():
            one = {form: score(home, form, 1) for form in FORMS[:1]}
    shutil.rmtree(home)
    return Sample(customers, size / customers, non_zeros / customers, forms, THREADS, one)


def score(home: Path, form: str, threads: int) -> dict[str, float]:
    """Score and publish in a process of its own."""
    subprocess.run(["sync"], check=True)  # the disk is idle
    given = {"PROPENSITY_SCORING__OUTPUT": form, "PROPENSITY_THREADS": str(threads)}
    found = bench_scoring.worker("score", home, **given)
    shutil.rmtree(home / "lake" / "category_propensity")
    return found


def features_in(home: Path) -> tuple[int, int]:
    """Return the bytes and the non-zeros of the snapshot."""
    import pyarrow.parquet as pq  # noqa: PLC0415

    families = {file: pq.read_metadata(file) for file in (home / "lake").glob("customer_*/*/*/*/*.parquet")}
    non_zeros = 0
    for file, metadata in families.items():
        for group in (metadata.row_group(number) for number in range(metadata.num_row_groups)):
            lists = [group.column(number) for number in range(group.num_columns)]
            # The other families' lists are empty, and Parquet counts each as a value.
            if file.is_relative_to(home / "lake" / "customer_products"):
                non_zeros += sum(each.num_values for each in lists if each.path_in_schema.startswith("indices."))
    return sum(file.stat().st_size for file in families), non_zeros


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process's children to one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def open_model(home: Path) -> dict[str, float]:
    """Open the model; return seconds and bytes of its files."""
    from scoring_home import VERSION  # noqa: PLC0415

    from propensity.scoring.scorer import Scorer  # noqa: PLC0415
    from propensity.settings import Settings  # noqa: PLC0415

    settings = Settings(home=home)
    directory = settings.models / settings.region / VERSION
    started = time.perf_counter()
    Scorer.open(directory).model.forward  # noqa: B018 - opened when it's first asked for
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "bytes": sum(file.stat().st_size for file in directory.iterdir() if file.is_file())}


def open_snapshot(home: Path) -> dict[str, float]:
    """Read footers and then rows of the snapshot; return seconds of the first, of a further range, and memory."""
    from scoring_home import AS_OF  # noqa: PLC0415

    from propensity.features.snapshot_reader import read_snapshot, snapshot_rows  # noqa: PLC0415
    from propensity.features.snapshots import find_snapshot  # noqa: PLC0415
    from propensity.settings import Settings  # noqa: PLC0415

    settings = Settings(home=home)
    snapshot = find_snapshot(settings, AS_OF)
    before, started = resident("VmRSS"), time.perf_counter()
    middle = snapshot_rows(settings, snapshot) // 2
    once = time.perf_counter() - started
    list(read_snapshot(settings, snapshot, rows=range(middle - 1, middle)))
    started = time.perf_counter()
    list(read_snapshot(settings, snapshot, rows=range(middle, middle + 1)))
    again = time.perf_counter() - started
    return {"once": once, "again": again, "bytes": resident("VmHWM") - before}


def resident(which: str) -> int:
    """Return this process's resident memory, bytes: VmRSS now, VmHWM at its highest."""
    return int(Path("/proc/self/status").read_text().split(f"{which}:")[1].split()[0]) * 1024


WORKERS: dict[str, Callable[[Path], dict[str, float]]] = {"model": open_model, "snapshot": open_snapshot}


def worker(what: str, home: Path) -> dict[str, float]:
    """Measure one of WORKERS in a process of its own."""
    command = [sys.executable, __file__, "--worker", what, str(home)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PROPENSITY_")}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment | {"TZ": "UTC"})
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def opening(home: Path, customers: int, categories: int) -> Opening:
    """Measure both in a home whose snapshot has as many row groups as one of all customers, with one row in each."""
    from propensity.features.snapshot_rows import ROW_GROUP_ROWS  # noqa: PLC0415

    groups = -(-customers // ROW_GROUP_ROWS)
    arguments = [str(home), str(groups), str(categories), "1"]
    subprocess.run([sys.executable, str(HERE / "scoring_home.py"), *arguments], check=True)
    found = Opening(worker("model", home), worker("snapshot", home), groups)
    shutil.rmtree(home)
    return found


def main() -> None:
    """Measure and print; with --write put it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, nargs="+", default=[65_536, 262_144, 524_288], help="rising")
    parser.add_argument("--categories", type=int, default=3_000)
    parser.add_argument("--job-customers", type=int, default=300_000_000)
    parser.add_argument("--hours", type=float, nargs="+", default=[2.0, 0.25], help="in which the job is to be done")
    parser.add_argument("--cores", type=int, default=16, help="of a machine")
    parser.add_argument("--gigabits", type=float, default=10.0, help="a second, of a machine's link to the storage")
    parser.add_argument("--core-hour", type=float, default=PRICE, help="dollars, default: %(default).5f")
    parser.add_argument("--share", type=float, default=1.0, help="of the local engine's rate that a cluster's core has")
    parser.add_argument("--directory", type=Path, help="on the disk to measure, by default the system's for such files")
    parser.add_argument("--write", action="store_true", help=f"the figures into {PAGE.name}")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        what, place = given.worker
        print(json.dumps(WORKERS[what](Path(place))))
        return
    with tempfile.TemporaryDirectory(dir=given.directory) as name:
        directory = Path(name)
        disk = bench_scoring.worker("disk", directory)["direct"]
        opened = opening(directory / "home", given.job_customers, given.categories)
        samples = [
            sample(directory / "home", customers, given.categories, alone=number == 0)
            for number, customers in enumerate(given.customers)
        ]
    text = published_job_figures.written(vars(given), samples, opened, disk)
    print(text)
    if given.write:
        before, heading, _ = PAGE.read_text().partition(HEADING)
        PAGE.write_text(f"{before}{heading}\n{text}")


if __name__ == "__main__":
    main()
