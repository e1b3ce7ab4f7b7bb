"""The local engine on a snapshot of several parts: killed, failing, on more and on fewer threads."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from threadpoolctl import threadpool_info

from propensity.errors import WarehouseError
from propensity.features.snapshots import find_snapshot
from propensity.scoring import local_engine, service
from propensity.scoring.parts import parts_of
from propensity.warehouse.lake import Lake
from tests import shop
from tests.scoring.large_snapshot import (
    CREATED,
    CUSTOMERS,
    PARTS,
    as_of_of,
    enlarge,
    feature_file,
    finish,
    finished_parts,
    published,
    published_inodes,
    start,
)
from tests.scoring.watch import Watch


@pytest.fixture
def home(large_home, tmp_path) -> Path:
    return shutil.copytree(large_home, tmp_path / "home")


def kill(home: Path, *, parts: int | None = None, after: float = 0.0) -> dict[str, int]:
    """Score, kill when so many parts are finished or after so many seconds; return the parts that were finished."""
    running = start(home)
    while parts is not None and running.poll() is None and len(finished_parts(home)) < parts:
        time.sleep(0.001)
    time.sleep(after)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    return finished_parts(home)


def test_killed_and_started_again_only_the_missing_parts_are_scored(home, undisturbed):
    with Watch(home) as watch:
        first = kill(home, parts=1)
        then = kill(home, parts=4)
        assert finish(home)[0] == CUSTOMERS
    assert 1 <= len(first) < 4 <= len(then) < len(PARTS)
    assert then | first == then  # the second process left the first one's alone
    assert published_inodes(home).items() >= then.items()  # and so did the third
    assert published(home) == undisturbed
    assert list(home.glob("lake/.unfinished/*")) == []
    assert CUSTOMERS in watch.seen


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_twenty_random_moments(large_home, undisturbed, tmp_path):
    rng = np.random.default_rng(20)
    trial = shutil.copytree(large_home, tmp_path / "trial")
    started = time.monotonic()
    finish(trial)
    seconds = time.monotonic() - started
    # Most of a run this short is its start, so half of the moments are counted from a part that was finished.
    moments = [(None, after) for after in rng.uniform(0.05, 1.0, 10) * seconds]
    moments += [(int(rng.integers(1, len(PARTS))), after) for after in rng.uniform(0.0, 0.05, 10)]
    kept = []
    for number, (parts, after) in enumerate(moments):
        home = shutil.copytree(large_home, tmp_path / f"{number}")
        with Watch(home):
            kept.append(len(kill(home, parts=parts, after=float(after))))
            finish(home)
        assert published(home) == undisturbed, (parts, after)
        assert list(home.glob("lake/.unfinished/*")) == []
        shutil.rmtree(home)
    assert any(0 < parts < len(PARTS) for parts in kept), kept  # else no kill was in the midst of it


def test_a_full_disk_is_an_error_and_what_was_finished_stays(home, undisturbed):
    limit = 4_000  # bytes of a file: less than a part has
    running = start(home, str(limit))
    _, err = running.communicate()
    assert running.returncode == 1
    assert "OSError" in err
    assert published(home) == {}
    assert list(home.glob("lake/.unfinished/*/attempts/*.parquet.*")) == []
    assert finish(home)[0] == CUSTOMERS
    assert published(home) == undisturbed


def test_any_number_of_threads_writes_the_same_files(home, undisturbed, monkeypatch):
    monkeypatch.setattr(service, "created_after", lambda _: datetime.fromisoformat(CREATED))
    reports = []

    def progress(step, done, total):
        assert (step, total) == ("scoring", CUSTOMERS)
        reports.append(done)

    settings = shop.settings_of(home, threads=5, top_k=4)
    result = service.score(settings, as_of_of(settings), progress=progress)
    assert published(home) == undisturbed
    assert reports == sorted(set(reports))
    assert reports[-1] == result.run.rows == CUSTOMERS


def test_a_run_that_was_split_otherwise_is_scored_anew(home, undisturbed, monkeypatch):
    """As another version has begun it: with parts that are now others', and parts that are none."""
    settings = shop.settings_of(home, threads=2, top_k=4)
    with monkeypatch.context() as before:
        before.setattr(service, "created_after", lambda _: datetime.fromisoformat(CREATED))
        before.setattr(service, "parts_of", lambda n_rows, _: parts_of(n_rows, 2**15))
        before.setattr(Lake, "publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            service.score(settings, as_of_of(settings))
    left = finished_parts(home)
    assert len(left) == 15 > len(PARTS)
    service.score(settings, as_of_of(settings))
    assert published(home) == undisturbed
    assert list(home.glob("lake/.unfinished/*")) == []


def test_an_error_in_one_lane_stops_the_others(home, monkeypatch):
    """The last rows of one family are another customer's: found when that part is read."""
    settings = shop.settings_of(home, threads=2, top_k=4)
    snapshot = find_snapshot(settings, as_of_of(settings))
    file = feature_file(settings, snapshot, "profile")
    rows = pq.read_table(file, partitioning=None)
    names = rows["customer_id"].to_pylist()
    names[10] = "somebody else"
    pq.write_table(rows.set_column(rows.schema.get_field_index("customer_id"), "customer_id", [names]), file)
    scored = []
    with pytest.raises(WarehouseError, match="damaged: customer_profile has other customers"):
        service.score(settings, as_of_of(settings), progress=lambda step, done, total: scored.append(done))
    assert max(scored, default=0) < CUSTOMERS / 2
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("scoring", "writing"))]
    assert published(home) == {}


def test_lanes_are_no_more_than_parts_and_blas_has_one_thread(large_home, monkeypatch):
    seen, working = [], []

    def work(lanes):
        working.append(lanes)
        pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
        # MXNet's own, which another test may have loaded, is of this kind; scoring doesn't use it.
        seen.extend(pool["num_threads"] for pool in pools if pool["threading_layer"] != "openmp")

    monkeypatch.setattr(local_engine._Lanes, "work", work)
    local_engine.score_parts(
        shop.settings_of(large_home, threads=64), None, None, None, parts_of(9_000), lambda *_: None
    )
    assert len(working) == len(parts_of(9_000)) == 2
    assert set(seen) == {1}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory_does_not_grow_with_the_customers(finished_home, tmp_path):
    peaks = []
    for customers in (40_000, 640_000):
        home = shutil.copytree(finished_home, tmp_path / str(customers))
        enlarge(home, customers)
        rows, peak = finish(home)
        assert rows == customers
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 100e6, peaks
