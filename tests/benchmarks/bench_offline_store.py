"""What point-in-time retrieval costs in this store and in Feast's stock DuckDB store, side by side.

Both read the same files through the same definitions; each measurement runs in a process of its own, started by
this one, and the sums of what they return must agree. CPU time, so that other work on the machine doesn't decide.
Run by `make bench`, or: python tests/benchmarks/bench_offline_store.py [case …]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import offline_store_lake as lake
import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureView, RepoConfig
from scipy.sparse import csr_matrix

HERE = Path(__file__).resolve()
ROWS, SPINE_ROWS = 2_000_000, 100_000
LATE, ANY_TIME = 0.9, 0.0  # training cut-offs in the year's last tenth; instants all over the year
STORES = {"stock": "duckdb", "ours": "propensity.feast_duckdb.DuckDBOfflineStore"}


@dataclass(frozen=True)
class Case:
    """One retrieval: where the lakes are, how many customers, and what the entity rows look like.

    Attributes:
        customers, snapshots: size of each lake.
        sparse_views, scalar_views: lakes joined at once.
        from_share: share of the year after which the entity rows lie.
        tables: hold the rows in tables of a DuckDB file, which the stock store can't read, instead of Parquet files.
        threads: this store's setting; None leaves the choice to it.
    """

    customers: int
    snapshots: int
    sparse_views: int = 1
    scalar_views: int = 0
    from_share: float = LATE
    tables: bool = False
    threads: int | None = None

    def views(self, directory: Path) -> list[FeatureView]:
        """Define the views."""
        sparse = [lake.view(directory / f"sparse{n}", f"sparse{n}") for n in range(self.sparse_views)]
        scalar = [lake.view(directory / f"scalar{n}", f"scalar{n}", sparse=False) for n in range(self.scalar_views)]
        for view in [*sparse, *scalar] if self.tables else []:
            view.batch_source = lake.table_source(directory, view.name)
        return [*sparse, *scalar]

    def write(self, directory: Path) -> None:
        """Write the lakes."""
        for seed in range(self.sparse_views):
            lake.write_lake(directory / f"sparse{seed}", self.customers, self.snapshots, seed=seed)
        for seed in range(self.scalar_views):
            lake.write_lake(directory / f"scalar{seed}", self.customers, self.snapshots, sparse=False, seed=100 + seed)
        for view in self.views(directory) if self.tables else []:
            lake.load_table(directory, view.name)


@dataclass(frozen=True)
class Cost:
    """What one retrieval took: CPU seconds of user and kernel, wall seconds, peak memory in GB, a sum of the values."""

    cpu: float
    wall: float
    peak: float
    checksum: float


def usage() -> tuple[float, float]:
    """Give CPU seconds and peak resident GB of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    # ru_maxrss starts from the parent's, which wrote the data; VmHWM counts this program alone.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return used.ru_utime + used.ru_stime, peak / 2**20


def checksum(rows: pa.Table) -> float:
    """Add up all features, weighted by their entity row's rank, so that a swap of rows would show."""
    rows = rows.take(pc.sort_indices(rows, sort_keys=[(name, "ascending") for name in rows.column_names[:2]]))
    weights = 1 + np.arange(rows.num_rows) % 97
    total = 0.0
    for column in rows.columns[2:]:
        array = column.combine_chunks()
        if pa.types.is_list(array.type):
            per_row = np.repeat(weights, pc.fill_null(pc.list_value_length(array), 0).to_numpy())
            total += float(np.dot(array.flatten().to_numpy().astype(float), per_row))
        else:
            total += float(np.dot(pc.fill_null(array, 0).to_numpy(zero_copy_only=False), weights))
    return total


def retrieve(store: str, case: Case, directory: Path) -> Cost:
    """Retrieve in this process, which must be fresh: peak memory counts from its start."""
    warnings.simplefilter("ignore")
    config = RepoConfig(
        project="bench",
        provider="local",
        registry=str(directory / "registry.pb"),
        repo_path=directory,
        entity_key_serialization_version=3,
        offline_store={"type": STORES[store]} | ({"threads": case.threads} if case.threads else {}),
    )
    if store == "stock":
        from feast.infra.offline_stores.duckdb import DuckDBOfflineStore  # noqa: PLC0415  (imports are not measured)
    else:
        from propensity.feast_duckdb import DuckDBOfflineStore  # type: ignore[assignment]  # noqa: PLC0415
    registry: Any = SimpleNamespace(list_on_demand_feature_views=lambda *_, **__: [])
    views = case.views(directory)
    refs = [f"{view.name}:{field.name}" for view in views for field in view.features]
    entity_rows = lake.spine(case.customers, SPINE_ROWS, from_share=case.from_share)
    cpu, wall = usage()[0], time.monotonic()
    job = DuckDBOfflineStore.get_historical_features(
        config, views, refs, entity_rows, registry, "bench", full_feature_names=True
    )
    rows = job.to_arrow()
    used, peak = usage()
    took = time.monotonic() - wall
    return Cost(used - cpu, took, peak, checksum(rows))


def measured(*arguments: str) -> dict[str, Any]:
    """Run this script in a fresh process and read what it prints last."""
    run = subprocess.run([sys.executable, str(HERE), *arguments], capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise RuntimeError(run.stdout + run.stderr)
    result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return result


def compare(label: str, case: Case) -> dict[str, Cost]:
    """Measure both stores on one case, print a line, and fail if they disagree."""
    with tempfile.TemporaryDirectory() as name:
        case.write(Path(name))
        costs = {}
        for store in STORES:
            costs[store] = Cost(**measured("--measure", store, json.dumps(asdict(case)), name))
    stock, ours = costs["stock"], costs["ours"]
    if not np.isclose(stock.checksum, ours.checksum, rtol=1e-9):
        raise RuntimeError(f"{label}: the stores disagree: {stock.checksum} and {ours.checksum}.")
    print(
        f"{label:34s} stock {stock.cpu:6.2f} CPU s {stock.peak:5.2f} GB   "
        f"ours {ours.cpu:5.2f} CPU s {ours.peak:5.2f} GB   "
        f"{stock.cpu / ours.cpu:5.1f}x CPU {stock.peak / ours.peak:4.1f}x memory",
        flush=True,
    )
    return costs


def compare_histories() -> None:
    """Hold rows at 2M and vary snapshots per customer, then hold snapshots and vary rows."""
    print(f"\n{ROWS:,} rows of 20-79-element lists, {SPINE_ROWS:,} entity rows in the last tenth of the year")
    flat = {}
    for snapshots in (5, 10, 20, 50, 100):
        label = f"{snapshots} snapshots x {ROWS // snapshots:,} customers"
        flat[snapshots] = compare(label, Case(ROWS // snapshots, snapshots))["ours"].cpu
    print(f"ours at 100 snapshots / at 5: {flat[100] / flat[5]:.2f} of the CPU")


def compare_rows() -> None:
    """Hold snapshots per customer at 50 and vary the rows."""
    print(f"\n50 snapshots per customer, {SPINE_ROWS:,} entity rows: cost by rows")
    for rows in (500_000, 1_000_000, 2_000_000, 4_000_000):
        compare(f"{rows:,} rows", Case(rows // 50, 50))


def compare_instants() -> None:
    """The hardest spine: instants all over the year, so that every part of every file holds winners."""
    print("\nEntity rows at instants all over the year")
    for snapshots in (5, 50):
        label = f"{snapshots} snapshots x {ROWS // snapshots:,} customers"
        compare(label, Case(ROWS // snapshots, snapshots, from_share=ANY_TIME))


def compare_tables() -> None:
    """Instants all over the year in this store alone: Parquet files, and a table, whose lists it can skip."""
    print("\nEntity rows at instants all over the year, this store: Parquet files and a table of a DuckDB file")
    for snapshots in (5, 50):
        costs = {}
        for tables in (False, True):
            case = Case(ROWS // snapshots, snapshots, from_share=ANY_TIME, tables=tables)
            with tempfile.TemporaryDirectory() as name:
                case.write(Path(name))
                costs[tables] = Cost(**measured("--measure", "ours", json.dumps(asdict(case)), name))
        files, table = costs[False], costs[True]
        if not np.isclose(files.checksum, table.checksum, rtol=1e-9):
            raise RuntimeError(f"Files and table disagree: {files.checksum} and {table.checksum}.")
        print(
            f"{f'{snapshots} snapshots x {ROWS // snapshots:,} customers':34s} "
            f"files {files.cpu:5.2f} CPU s {files.peak:5.2f} GB   table {table.cpu:5.2f} CPU s {table.peak:5.2f} GB   "
            f"{files.cpu / table.cpu:5.1f}x CPU",
            flush=True,
        )


def compare_threads() -> None:
    """What a second thread brings to a small retrieval: medians of four runs each, one after the other."""
    print("\n5 snapshots x 400,000 customers, this store: its own choice of threads, and two")
    costs: dict[int | None, list[Cost]] = {None: [], 2: []}
    with tempfile.TemporaryDirectory() as name:
        Case(ROWS // 5, 5).write(Path(name))
        for _ in range(4):
            for threads, runs in costs.items():
                case = Case(ROWS // 5, 5, threads=threads)
                runs.append(Cost(**measured("--measure", "ours", json.dumps(asdict(case)), name)))
    for threads, runs in costs.items():
        cpu, wall = (statistics.median(getattr(run, figure) for run in runs) for figure in ("cpu", "wall"))
        print(
            f"{'own choice' if threads is None else f'{threads} threads':34s} {cpu:5.2f} CPU s {wall:5.2f} s",
            flush=True,
        )


def compare_views() -> None:
    """Three sparse views and a scalar one at once."""
    print("\nThree sparse views of 1M rows and one scalar view at once")
    compare("50 snapshots x 20,000 customers", Case(20_000, 50, sparse_views=3, scalar_views=1))


def csr(rows: pa.Table) -> csr_matrix:
    """Build a CSR from the buffers of two list columns."""
    indices, values = (rows.column(name).chunk(0) for name in ("indices", "values"))  # combine_chunks() would copy
    shape = (rows.num_rows, 200_000)
    return csr_matrix((values.values.to_numpy(), indices.values.to_numpy(), indices.offsets.to_numpy()), shape=shape)


def measure_csr(directory: Path) -> dict[str, Any]:
    """Retrieve 1M rows of 50 non-zeros, then build the same CSR from Arrow and from pandas."""
    from propensity.feast_duckdb import DuckDBOfflineStore  # noqa: PLC0415  (imports are not measured)

    rng, rows = np.random.default_rng(0), 1_000_000
    offsets = np.arange(rows + 1, dtype=np.int32) * 50
    indices = rng.integers(0, 4_000, rows * 50, dtype=np.int32) + np.tile(np.arange(50, dtype=np.int32) * 4_000, rows)
    entity_rows = pa.table(
        {"customer_id": lake.customer_ids(range(rows)), "event_timestamp": pa.repeat(lake.START_US + 1, rows)}
    )
    entity_rows = entity_rows.set_column(1, "event_timestamp", entity_rows.column(1).cast(lake.UTC_US))
    features = {
        "created_timestamp": entity_rows.column(1),
        "indices": pa.ListArray.from_arrays(offsets, indices),
        "values": pa.ListArray.from_arrays(offsets, rng.random(rows * 50, dtype=np.float32)),
    }
    (directory / "sparse0").mkdir()
    lake.pq.write_table(
        pa.table({**dict(zip(entity_rows.column_names, entity_rows.columns, strict=True)), **features}),
        directory / "sparse0/0.parquet",
    )
    del features, indices
    config = RepoConfig(
        project="bench", provider="local", registry=str(directory / "registry.pb"), repo_path=directory,
        entity_key_serialization_version=3, offline_store={"type": STORES["ours"]},
    )  # fmt: skip
    registry: Any = SimpleNamespace(list_on_demand_feature_views=lambda *_, **__: [])
    view = lake.view(directory / "sparse0", "sparse0")
    refs = ["sparse0:indices", "sparse0:values"]
    job = DuckDBOfflineStore.get_historical_features(config, [view], refs, entity_rows, registry, "bench")
    start = usage()[0]
    table = job.to_arrow()
    retrieved = usage()[0]
    fast = csr(table)
    arrow = usage()[0]
    shared = bool(
        fast.data.ctypes.data == table.column("values").chunk(0).values.buffers()[1].address
        and fast.indices.ctypes.data == table.column("indices").chunk(0).values.buffers()[1].address
    )
    del table
    frame = job.to_df()  # runs the retrieval again
    framed = usage()[0]
    slow = csr_matrix(
        (
            np.concatenate(frame["values"].to_list()),
            np.concatenate(frame["indices"].to_list()),
            np.concatenate([[0], np.cumsum(frame["indices"].map(len))]),
        ),
        shape=(rows, 200_000),
    )
    end = usage()[0]
    return {
        "retrieval": retrieved - start,
        "arrow": arrow - retrieved,
        "pandas": (end - arrow) - (retrieved - start),
        "frame": framed - arrow,
        "shared": shared,
        "equal": bool((fast != slow).nnz == 0),
    }


def report_csr() -> None:
    """Print what turning a result into a CSR costs by way of Arrow and of pandas."""
    print("\n1M rows x 50 non-zeros to scipy.sparse.csr_matrix")
    with tempfile.TemporaryDirectory() as name:
        got = measured("--csr", name)
    print(
        f"retrieval {got['retrieval']:.2f} CPU s; then to_arrow() -> CSR {got['arrow']:.4f} CPU s, "
        f"to_df() -> CSR {got['pandas']:.2f} CPU s: {got['pandas'] / max(got['arrow'], 1e-4):,.0f}x; "
        f"same address: {got['shared']}; equal: {got['equal']}"
    )


def measure_spill(directory: Path) -> dict[str, Any]:
    """Join 10M entity rows to 20M feature rows, each of its own key, under memory_limit=2GB, streaming the result."""
    import duckdb  # noqa: PLC0415

    from propensity.feast_duckdb import DuckDBOfflineStore  # noqa: PLC0415  (imports are not measured)

    (directory / "scalar0").mkdir()
    spines = directory / "spine.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT 'c' || lpad(i::VARCHAR, 8, '0') AS customer_id, make_timestamptz($start) AS event_timestamp, "
            "make_timestamptz($start) AS created_timestamp, i / 2 AS score FROM range(20_000_000) AS t(i)) "
            f"TO '{directory}/scalar0/0.parquet'",
            {"start": lake.START_US},
        )
        connection.execute(
            "COPY (SELECT 'c' || lpad((i * 7 % 20_000_000)::VARCHAR, 8, '0') AS customer_id, "
            f"make_timestamptz($start) AS event_timestamp FROM range(10_000_000) AS t(i)) TO '{spines}'",
            {"start": lake.START_US + 1},
        )
    config = RepoConfig(
        project="bench", provider="local", registry=str(directory / "registry.pb"), repo_path=directory,
        entity_key_serialization_version=3,
        offline_store={"type": STORES["ours"], "memory_limit": "2GB", "temp_directory": str(directory / "spill")},
    )  # fmt: skip
    registry: Any = SimpleNamespace(list_on_demand_feature_views=lambda *_, **__: [])
    view = lake.view(directory / "scalar0", "scalar0", sparse=False)
    query = f"SELECT * FROM read_parquet('{spines}')"
    job = DuckDBOfflineStore.get_historical_features(config, [view], ["scalar0:score"], query, registry, "bench")
    cpu, wall = usage()[0], time.monotonic()
    rows, right = 0, True
    for batch in job.to_record_batches():
        position = np.arange(rows, rows + batch.num_rows)
        right &= bool(np.array_equal(batch.column(2).to_numpy(), position * 7 % 20_000_000 / 2))
        rows += batch.num_rows
    used, peak = usage()
    return {"cpu": used - cpu, "wall": time.monotonic() - wall, "peak": peak, "rows": rows, "right": right}


def report_spill() -> None:
    """Print that the join larger than its memory completes."""
    print("\n10M entity rows x 20M feature keys under memory_limit=2GB")
    with tempfile.TemporaryDirectory() as name:
        got = measured("--spill", name)
    print(
        f"{got['rows']:,} rows in {got['cpu']:.1f} CPU s, {got['wall']:.1f} s, peak {got['peak']:.2f} GB resident; "
        f"every value right and in order: {got['right']}"
    )


CASES: dict[str, Callable[[], None]] = {
    "histories": compare_histories,
    "rows": compare_rows,
    "instants": compare_instants,
    "tables": compare_tables,
    "threads": compare_threads,
    "views": compare_views,
    "csr": report_csr,
    "spill": report_spill,
}


def main() -> None:
    """Print every comparison, or those named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], help="default: all")
    parser.add_argument("--measure", nargs=3, metavar=("STORE", "CASE", "DIRECTORY"), help=argparse.SUPPRESS)
    parser.add_argument("--csr", metavar="DIRECTORY", help=argparse.SUPPRESS)
    parser.add_argument("--spill", metavar="DIRECTORY", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        store, case, directory = given.measure
        print(json.dumps(asdict(retrieve(store, Case(**json.loads(case)), Path(directory)))))
    elif given.csr:
        print(json.dumps(measure_csr(Path(given.csr))))
    elif given.spill:
        print(json.dumps(measure_spill(Path(given.spill))))
    else:
        for case in given.cases or CASES:
            CASES[case]()


if __name__ == "__main__":
    main()
