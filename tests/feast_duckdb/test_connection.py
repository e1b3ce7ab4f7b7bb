"""Sessions: settings, locks and spill files."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from propensity.feast_duckdb import DatabaseLockedError, point_in_time, retrieval
from propensity.feast_duckdb.connection import Session, SessionSettings, open_session

from .views import config, entities, history, retrieve, source, view

HOLD = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    with duckdb.connect(tmp_path / "shop.duckdb") as connection:
        connection.register("rows", history(("a", 1, 1, 10)))
        connection.execute("CREATE TABLE purchases AS SELECT * FROM rows")
    return tmp_path / "shop.duckdb"


def score(shop: Path, timeout: float) -> list:
    """Retrieve from the table."""
    made = view(source(table="purchases", database="shop.duckdb"))
    offline = {"lock_timeout_seconds": timeout}
    return (
        retrieve(shop.parent, [made], ["purchases:score"], entities(("a", 2)), offline=offline)
        .to_arrow()
        .column("score")
        .to_pylist()
    )


def test_lock_of_another_process(shop: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(shop)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        holder.stdout.readline()
        with pytest.raises(DatabaseLockedError, match=rf"stayed locked for 0.1 s: another process.*PID {holder.pid}"):
            score(shop, 0.1)
        threading.Timer(0.3, holder.stdin.close).start()
        assert score(shop, 10) == [10]
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


@pytest.mark.parametrize(("configured", "used"), [(None, 1), (3, 3)])
def test_a_modest_retrieval_takes_one_thread_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, configured: int | None, used: int
) -> None:
    pq.write_table(history(("a", 1, 1, 10)), tmp_path / "purchases.parquet")
    made = view(source(path="purchases.parquet"))
    threads = []

    def noted(session: Session, query: str) -> pa.Table:
        threads.extend(session.execute("SELECT current_setting('threads')").fetchall())
        return session.execute(query).to_arrow_table()

    monkeypatch.setattr(retrieval, "_table", noted)

    def score() -> list:
        job = retrieve(tmp_path, [made], ["purchases:score"], entities(("a", 2)), offline={"threads": configured})
        return job.to_arrow().column("score").to_pylist()

    assert score() == [10]
    assert set(threads) == {(used,)}
    threads.clear()
    monkeypatch.setattr(point_in_time, "_MODEST_BYTES", 1)
    assert score() == [10]
    assert (configured is not None) or set(threads) == {(len(os.sched_getaffinity(0)),)}


def test_lock_of_this_process(shop: Path) -> None:
    held = duckdb.connect(shop)
    with pytest.raises(DatabaseLockedError, match="a connection in this process holds it"):
        score(shop, 0)
    held.close()
    assert score(shop, 0) == [10]


@pytest.mark.parametrize("configured", [None, 3])
def test_threads_come_back(tmp_path: Path, configured: int | None) -> None:
    threads = "SELECT current_setting('threads')"
    with open_session(SessionSettings.of(config(tmp_path, threads=configured))) as session:
        before = session.execute(threads).fetchall()
        with session.on_one_thread():
            assert session.execute(threads).fetchall() == [(1,)]
        assert session.execute(threads).fetchall() == before
        with pytest.raises(duckdb.CatalogException), session.on_one_thread():
            session.execute("SELECT * FROM nowhere")
        assert session.execute(threads).fetchall() == before
        assert configured is None or before == [(configured,)]


def test_settings_reach_duckdb_and_spill_files_go(tmp_path: Path) -> None:
    offline = {"threads": 1, "memory_limit": "100MB", "temp_directory": "spill", "base_path": "data"}
    settings = SessionSettings.of(config(tmp_path, **offline))
    with open_session(settings) as session:
        names = ("threads", "memory_limit", "temp_directory", "TimeZone", "enable_progress_bar")
        threads, memory, spill, zone, bar = session.execute(
            "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
        ).fetchall()[0]
        assert (threads, memory, zone, bar) == (1, "95.3 MiB", "UTC", False)
        assert Path(spill).parent == tmp_path / "data/spill"
        session.execute("CREATE TEMP TABLE wide AS SELECT i, repeat('x', 100) || i AS text FROM range(2000000) AS t(i)")
        assert list(Path(spill).iterdir())
    assert not Path(spill).exists()
