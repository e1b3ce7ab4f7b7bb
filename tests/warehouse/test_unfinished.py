from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from propensity.errors import WarehouseLockedError
from propensity.warehouse.lake import Lake
from propensity.warehouse.unfinished import ABANDONED_SECONDS, drop_outdated, unfinished_run

AS_OF = datetime(2017, 11, 1, 4, tzinfo=UTC)
RUN = ("scores", "us", "r1", AS_OF)
HOLDER = """
import sys, time
from datetime import datetime
from pathlib import Path
from propensity.warehouse.lake import Lake
from propensity.warehouse.unfinished import unfinished_run
with unfinished_run(Lake(Path(sys.argv[1])), "scores", "us", "r1", datetime.fromisoformat(sys.argv[2]),
                    wait_seconds=0) as directory:
    (directory / "half").touch()
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path / "lake")


@pytest.fixture
def held(lake):
    """Another process is at work on RUN."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lake.root), AS_OF.isoformat()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        yield holder
        holder.kill()


def leave(lake, run_id="r1", region="us", as_of=AS_OF):
    """Begin a run and fail."""
    with suppress(RuntimeError), unfinished_run(lake, "scores", region, run_id, as_of, wait_seconds=0) as directory:
        (directory / "parts").mkdir(exist_ok=True)
        raise RuntimeError
    return directory


def test_what_was_left_is_found_again_and_goes_with_the_end(lake):
    directory = leave(lake)
    with unfinished_run(lake, *RUN, wait_seconds=0) as again:
        assert again == directory
        assert (again / "parts").is_dir()
    assert not directory.exists()
    assert directory.parent.parent == lake.root
    assert directory.parent.name.startswith(".")


def test_while_a_process_works_another_waits_or_says_so(lake, held):
    with (
        pytest.raises(WarehouseLockedError, match="Another process is at work on scores@us@2017-11-01T04-00-00Z@r1"),
        unfinished_run(lake, *RUN, wait_seconds=0),
    ):
        raise AssertionError
    held.kill()
    with unfinished_run(lake, *RUN, wait_seconds=20) as directory:
        assert (directory / "half").exists()


def test_who_waited_for_one_that_ended_well_starts_anew(lake, held):
    held.stdin.close()
    with unfinished_run(lake, *RUN, wait_seconds=20) as directory:
        assert list(directory.iterdir()) == []
        assert directory.is_dir()


def test_runs_whose_inputs_were_replaced_go_and_others_stay(lake):
    current, replaced = leave(lake), leave(lake, "r0")
    others = [leave(lake, "r0", region="uk"), leave(lake, "r0", as_of=AS_OF + timedelta(days=7))]
    assert drop_outdated(lake, *RUN[:2], AS_OF, current="r1") == 1
    assert not replaced.exists()
    assert all(directory.exists() for directory in (current, *others))
    assert drop_outdated(lake, *RUN[:2], AS_OF, current=None) == 1
    assert not current.exists()
    assert all(directory.exists() for directory in others)


def test_what_nobody_touched_for_long_goes(lake):
    old, fresh = leave(lake, "r0", region="uk"), leave(lake, "r0", region="de")
    long_ago = time.time() - ABANDONED_SECONDS - 1
    for directory in (old, fresh):
        os.utime(directory, (long_ago, long_ago))
    os.utime(old / "parts", (long_ago, long_ago))  # a part was finished in the other one a moment ago
    assert drop_outdated(lake, *RUN[:2], AS_OF, current=None) == 1
    assert not old.exists()
    assert fresh.exists()


def test_what_a_live_process_holds_is_spared(lake, held):
    (directory,) = (lake.root / ".unfinished").iterdir()
    long_ago = time.time() - ABANDONED_SECONDS - 1
    os.utime(directory, (long_ago, long_ago))
    assert drop_outdated(lake, *RUN[:2], AS_OF, current=None) == 0
    assert directory.exists()
    held.kill()
    held.wait()
    assert drop_outdated(lake, *RUN[:2], AS_OF, current=None) == 1


def test_nothing_unfinished_is_no_error(lake):
    assert drop_outdated(lake, *RUN[:2], AS_OF, current=None) == 0
