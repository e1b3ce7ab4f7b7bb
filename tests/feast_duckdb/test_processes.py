"""Several processes at once, and joins larger than the memory that they may use."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Field
from feast.types import Float64, String

from propensity.feast_duckdb import DuckDBOfflineStore

from .views import UTC_US, config, history, hour, retrieve, source, view, write

ROOT = Path(__file__).resolve().parents[2]
CHILD = """
import sys
from pathlib import Path
from tests.feast_duckdb.test_processes import append_four

print("ready", flush=True)
sys.stdin.readline()
append_four(Path(sys.argv[1]), 1)
"""

LEFT_OPEN = """
import os, sys
from pathlib import Path
from tests.feast_duckdb.test_processes import stream

os.left_open = stream(Path(sys.argv[1]))  # where it outlives the modules that it needs
next(os.left_open)
print("ends", flush=True)
"""


def stream(repo: Path) -> Iterator[pa.RecordBatch]:
    """Begin a retrieval of more than one batch."""
    spine = pa.table({"customer_id": ["a"] * 5_000, "event_timestamp": pa.array([hour(4)] * 5_000, UTC_US)})
    return retrieve(repo, [view(source("rows"))], ["purchases:score"], spine).to_record_batches(2_048)


def append_four(repo: Path, writer: int) -> None:
    """Append four rows, one at a time, to a directory and to a table."""
    for place in range(4):
        rows = history((f"w{writer}", place, place, writer * 10 + place))
        for made in (source("rows", allow_empty=True), source(table="rows", database="shop.duckdb")):
            DuckDBOfflineStore.offline_write_batch(config(repo, lock_timeout_seconds=60), view(made), rows, None)


def test_writers_in_several_processes_lose_no_row(tmp_path: Path) -> None:
    with duckdb.connect(tmp_path / "shop.duckdb") as shop:
        shop.execute(
            "CREATE TABLE rows (customer_id VARCHAR, event_timestamp TIMESTAMPTZ, created_timestamp TIMESTAMPTZ, "
            "indices INTEGER[], values FLOAT[], score BIGINT)"
        )
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"  # so that both write at the same time
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()
    append_four(tmp_path, 0)
    assert child.communicate()[1] == ""
    assert child.returncode == 0
    expected = sorted(writer * 10 + place for writer in range(2) for place in range(4))
    assert sorted(pq.read_table(tmp_path / "rows").column("score").to_pylist()) == expected
    with duckdb.connect(tmp_path / "shop.duckdb", read_only=True) as shop:
        assert shop.execute("SELECT score FROM rows ORDER BY score").fetchall() == [(score,) for score in expected]


@pytest.mark.slow
def test_a_join_larger_than_its_memory_spills(tmp_path: Path) -> None:
    rows, keys = 1_000_000, 2_000_000
    (tmp_path / "scores").mkdir()
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT 'c' || lpad(i::VARCHAR, 8, '0') AS customer_id, $at AS event_timestamp, i / 2 AS score "
            f"FROM range({keys}) AS t(i)) TO '{tmp_path}/scores/0.parquet'",
            {"at": hour(0)},
        )
    spine = (
        f"SELECT 'c' || lpad((i * 7 % {keys})::VARCHAR, 8, '0') AS customer_id, "
        f"TIMESTAMPTZ '{hour(1).isoformat()}' AS event_timestamp FROM range({rows}) AS t(i)"
    )
    fields = [Field(name="customer_id", dtype=String), Field(name="score", dtype=Float64)]
    made = view(source("scores", created_timestamp_column=""), schema=fields)
    offline = {"memory_limit": "150MB", "temp_directory": str(tmp_path / "spill")}
    job = retrieve(tmp_path, [made], ["purchases:score"], spine, offline=offline)
    spilled, seen = 0, 0
    for batch in job.to_record_batches():
        spilled = max(spilled, sum(file.stat().st_size for file in (tmp_path / "spill").rglob("*") if file.is_file()))
        place = np.arange(seen, seen + batch.num_rows)
        assert np.array_equal(batch.column(2).to_numpy(), place * 7 % keys / 2)
        seen += batch.num_rows
    assert seen == rows
    assert spilled > 0
    assert job.to_arrow().column("score").equals(pa.chunked_array([np.arange(rows) * 7 % keys / 2]))
    assert list((tmp_path / "spill").iterdir()) == []


def test_a_stream_left_open_ends_quietly_with_the_process(tmp_path: Path) -> None:
    write(tmp_path / "rows/0.parquet", history(("a", 1, 1, 10)))
    command = [sys.executable, "-W", "ignore", "-c", LEFT_OPEN, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert (done.stdout, done.stderr) == ("ends\n", "")
