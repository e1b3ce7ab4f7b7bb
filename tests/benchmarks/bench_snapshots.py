"""What building 20 weekly snapshots together costs beside 20 single builds, in CPU time, on Complete Journey.

CPU time, so that other work on the machine doesn't decide. Both write the same features; this is checked.
Run by `make bench`, or: python tests/benchmarks/bench_snapshots.py
"""

from __future__ import annotations

import resource
import tempfile
import time
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from propensity import columns
from propensity.features.snapshots import build_snapshots
from propensity.settings import Settings
from propensity.warehouse.complete_journey import import_complete_journey
from propensity.warehouse.lake import Lake
from propensity.warehouse.migration import migrate
from propensity.warehouse.regions import local_midnight

WEEKS = 20


def cpu_seconds(settings: Settings, groups: list[list[datetime]]) -> tuple[float, float]:
    """Build each group in turn; return CPU seconds and wall seconds."""
    cpu, wall = time.process_time(), time.monotonic()
    for group in groups:
        build_snapshots(settings, group)
    return time.process_time() - cpu, time.monotonic() - wall


def home(directory: Path, name: str) -> Settings:
    settings = Settings(home=directory / name)
    migrate(settings)
    import_complete_journey(settings)
    return settings


def values(settings: Settings, as_of: datetime) -> list[npt.NDArray[np.float32]]:
    """Every family's values in order of size: indices may differ, since dictionaries grow in the order of building."""
    found = []
    for family in columns.FAMILIES:
        (file,) = Lake(settings.lake).files(columns.feature_view(family), settings.region, as_of=as_of)
        lists = pq.read_table(file, columns=[columns.VALUES], partitioning=None).column(0)
        found.append(np.sort(lists.combine_chunks().flatten().to_numpy()))
    return found


def main() -> None:
    """Print the ratio."""
    with tempfile.TemporaryDirectory() as name:
        together, single = home(Path(name), "together"), home(Path(name), "single")
        last = date(2017, 11, 1)
        as_ofs = [local_midnight(last - timedelta(weeks=week), together) for week in range(WEEKS)]
        at_once, wall_at_once = cpu_seconds(together, [as_ofs])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        one_by_one, wall_one_by_one = cpu_seconds(single, [[as_of] for as_of in sorted(as_ofs)])
        same = all(
            np.array_equal(one, other)
            for as_of in as_ofs
            for one, other in zip(values(together, as_of), values(single, as_of), strict=True)
        )
        print(f"{WEEKS} weekly snapshots of Complete Journey")
        print(f"together    {at_once:6.1f} CPU s {wall_at_once:6.1f} s   peak {peak:,.0f} MB")
        print(f"one by one  {one_by_one:6.1f} CPU s {wall_one_by_one:6.1f} s")
        print(f"ratio       {at_once / one_by_one:6.2f} of the CPU time; same values: {same}")


if __name__ == "__main__":
    main()
