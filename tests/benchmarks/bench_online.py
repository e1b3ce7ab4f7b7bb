"""Putting a run online, and reading it there: the platform's way beside Feast's default path, in the same run.

Feast's default path is `FeatureStore.materialize` with its own compute engine and its own sqlite online store. Both put
the same published run online, each in a process of its own, ours first, so that a warm cache favours the peer. Both are
asked for the same customers in turn; what they serve is compared.
Run by `make bench`, or: python tests/benchmarks/bench_online.py [--customers 100000]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feast import FeatureStore

    from propensity.settings import Settings

HERE = Path(__file__).resolve()
AS_OF = datetime(2024, 6, 1, tzinfo=UTC)
TOP_K, CATEGORIES = 20, 2_000
VIEW = "category_propensity_top"
ASKED = (1, 100, 1_000)
"""Customers in a request."""
ASKED_VALUES = 40_000
"""Customers asked for in all, for each size of request; at most 400 requests."""
STOCK = "feast.infra.online_stores.sqlite.SqliteOnlineStore"
RUN_ID = "scoring-bench"


@dataclass(frozen=True)
class Written:
    """What putting a run online took: seconds by the clock and of CPU, GB of peak memory, at the end and before."""

    wall: float
    cpu: float
    peak: float
    before: float


def settings_of(home: Path) -> Settings:
    """Return the settings of the benchmark's home."""
    from propensity.settings import Settings  # noqa: PLC0415 - the parent stays small

    return Settings(home=home, top_k=TOP_K)


@contextlib.contextmanager
def store_of(home: Path, way: str) -> Iterator[tuple[FeatureStore, Path]]:
    """Open the platform's store, or the same one with Feast's own online store in another file."""
    import yaml  # noqa: PLC0415
    from feast import FeatureStore  # noqa: PLC0415

    from propensity.features.feature_store import repository, store_options  # noqa: PLC0415

    options = store_options(settings_of(home))
    if way == "feast":
        options["online_store"] = {"type": STOCK, "path": str(home / "feast" / "stock.db")}
        options["registry"]["path"] = str(home / "feast" / "stock_registry.pb")
    with tempfile.TemporaryDirectory() as name:
        rendered = Path(name) / "feature_store.yaml"
        rendered.write_text(yaml.safe_dump(options))
        yield FeatureStore(repo_path=str(repository()), fs_yaml_file=rendered), rendered


def prepare(home: Path, customers: int) -> None:
    """Make a home with one published run of so many customers; apply the repository for both ways."""
    import numpy as np  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    from propensity import columns  # noqa: PLC0415
    from propensity.features.feature_store import apply_repository, repository  # noqa: PLC0415
    from propensity.warehouse.catalogue_session import catalogue_session  # noqa: PLC0415
    from propensity.warehouse.lake import Lake  # noqa: PLC0415
    from propensity.warehouse.migration import migrate  # noqa: PLC0415
    from propensity.warehouse.regions import ensure_region  # noqa: PLC0415
    from propensity.warehouse.runs import RunRecord, record_run  # noqa: PLC0415
    from propensity.warehouse.schemas import PROPENSITY_SCHEMA  # noqa: PLC0415

    settings = settings_of(home)
    migrate(settings)
    rng = np.random.default_rng(1)
    created = datetime.now(UTC)
    with (
        Lake(settings.lake).new_run(columns.CATEGORY_PROPENSITY, settings.region, RUN_ID, AS_OF) as directory,
        pq.ParquetWriter(directory / "part-0.parquet", PROPENSITY_SCHEMA, compression="zstd") as writer,
    ):
        for start in range(0, customers, 50_000):
            n = min(50_000, customers - start)
            offsets = pa.array(np.arange(0, TOP_K * n + 1, TOP_K, dtype=np.int32))
            constant = {
                columns.EVENT_TIMESTAMP: pa.repeat(pa.scalar(AS_OF, pa.timestamp("us", "UTC")), n),
                columns.CREATED_TIMESTAMP: pa.repeat(pa.scalar(created, pa.timestamp("us", "UTC")), n),
                columns.REGION: pa.repeat(settings.region, n),
                columns.MODEL_VERSION: pa.repeat("20240601-bench", n),
                columns.RUN_ID: pa.repeat(RUN_ID, n),
                columns.CUSTOMER_ID: pa.array([f"c{number:09d}" for number in range(start, start + n)]),
                # Not read here: the lists of the full vectors are left empty.
                columns.PROPENSITIES: pa.ListArray.from_arrays(pa.array(np.zeros(n + 1, np.int32)), pa.array([], "f4")),
                columns.TOP_CATEGORIES: pa.ListArray.from_arrays(
                    offsets, rng.integers(0, CATEGORIES, TOP_K * n, dtype=np.int32)
                ),
                columns.TOP_PROPENSITIES: pa.ListArray.from_arrays(offsets, rng.random(TOP_K * n, dtype=np.float32)),
            }
            arrays = [constant[name] for name in PROPENSITY_SCHEMA.names]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=PROPENSITY_SCHEMA))
    run = RunRecord(RUN_ID, settings.region, "scoring", "published", AS_OF, customers, 0.0, created, {})
    with catalogue_session(settings) as session:
        ensure_region(session, settings)
        record_run(session, run)
    apply_repository(settings)
    with store_of(home, "feast") as (_, rendered):
        command = [sys.executable, "-m", "feast.cli.cli", "-c", str(repository()), "-f", str(rendered), "apply"]
        environment = os.environ | {"PROPENSITY_HOME": str(home), "PYTHONWARNINGS": "ignore", "TZ": "UTC"}
        subprocess.run(command, check=True, capture_output=True, env=environment)


def write(home: Path, way: str) -> Written:
    """Put the run online in this process, which must be fresh: peak memory counts from its start."""
    from propensity.scoring.online import materialize  # noqa: PLC0415
    from propensity.warehouse.runs import find_run  # noqa: PLC0415

    settings = settings_of(home)
    with store_of(home, way) as (store, _):  # Feast's import isn't measured
        list(store.list_feature_views())
        before, cpu, started = peak_gb(), time.process_time(), time.monotonic()
        if way == "ours":
            run = find_run(settings, RUN_ID)
            assert run is not None
            assert materialize(settings, run)
        else:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                store.materialize(AS_OF - timedelta(seconds=1), AS_OF + timedelta(seconds=1), feature_views=[VIEW])
        return Written(time.monotonic() - started, time.process_time() - cpu, peak_gb(), before)


def read(home: Path, customers: int) -> dict[str, dict[str, list[float]]]:
    """Ask both stores the same in turn; return milliseconds of each request, and a sum of what was served."""
    import numpy as np  # noqa: PLC0415

    with store_of(home, "ours") as (ours, _), store_of(home, "feast") as (feast, _):
        stores = {"ours": ours, "feast": feast}
        services = {way: store.get_feature_service("propensity_serving_v1") for way, store in stores.items()}
        rng = np.random.default_rng(2)
        took: dict[str, dict[str, list[float]]] = {way: {"sum": [0.0]} for way in stores}
        for asked in ASKED:
            for number in range(5 + min(400, ASKED_VALUES // asked)):
                rows = [{"customer_id": f"c{customer:09d}"} for customer in rng.integers(0, customers, asked)]
                for way in sorted(stores, reverse=bool(number % 2)):  # so that neither always finds a warm cache
                    started = time.perf_counter()
                    answer = stores[way].get_online_features(features=services[way], entity_rows=rows)
                    millis = 1000 * (time.perf_counter() - started)
                    took[way]["sum"][0] += float(np.sum(answer.to_dict()["top_propensities"]))
                    if number >= 5:  # the first ones open files and fill caches
                        took[way].setdefault(str(asked), []).append(millis)
        return took


def peak_gb() -> float:
    """Return this process's peak resident memory."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 2**20


def apart(home: Path, *arguments: str) -> dict[str, Any]:
    """Run a part of this script in a fresh process and return what it prints."""
    command = [sys.executable, "-W", "ignore", str(HERE), "--home", str(home), *arguments]
    environment = os.environ | {"PROPENSITY_HOME": str(home), "TZ": "UTC"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print rows/s, peak memory and latencies of both ways."""
    import numpy as np  # noqa: PLC0415

    parser = argparse.ArgumentParser()
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--home", type=Path)
    parser.add_argument("part", nargs="?", choices=["prepare", "write", "read"])
    parser.add_argument("way", nargs="?", choices=["ours", "feast"], default="ours")
    options = parser.parse_args()
    if options.part:
        warnings.simplefilter("ignore")
        if options.part == "prepare":
            prepare(options.home, options.customers)
            print("{}")
        elif options.part == "write":
            print(json.dumps(asdict(write(options.home, options.way))))
        else:
            print(json.dumps(read(options.home, options.customers)))
        return
    count = ("--customers", str(options.customers))
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        apart(home, *count, "prepare")
        print(f"{options.customers:,} customers x top {TOP_K} into Feast's sqlite online store")
        written = {way: Written(**apart(home, *count, "write", way)) for way in ("ours", "feast")}
        for way, cost in written.items():
            print(
                f"{way:5}  {options.customers / cost.wall:9,.0f} rows/s  {cost.cpu:6.1f} CPU s  "
                f"peak {cost.peak:.2f} GB, {cost.peak - cost.before:.2f} GB above the start"
            )
        ours, feast = written["ours"], written["feast"]
        print(f"ratio  {feast.wall / ours.wall:9.2f} of the rows/s, {ours.cpu / feast.cpu:.2f} of the CPU time")
        took = apart(home, *count, "read")
        print("get_online_features, milliseconds   p50 ours  feast   p99 ours  feast")
        for asked in map(str, ASKED):
            p50, p99 = ([np.percentile(took[way][asked], q) for way in ("ours", "feast")] for q in (50, 99))
            print(f"{asked:>5} customers {p50[0]:28.2f} {p50[1]:6.2f} {p99[0]:10.2f} {p99[1]:6.2f}")
        print(f"the same is served: {took['ours']['sum'] == took['feast']['sum']}")


if __name__ == "__main__":
    main()
