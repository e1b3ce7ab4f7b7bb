"""Customers a second and peak memory of `propensity simulate`, for rising numbers of customers.

The command runs in a process of its own: draws chunk after chunk, imports part after part. Its most memory must not
grow with the customers: the last row's, with as many times the customers, is compared with the first row's.

Run by `make bench`, or: python tests/benchmarks/bench_simulator.py --customers 1000000 --days 30
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path

from measured_command import propensity

GROWTH = 1.25
"""Most memory of the last row, as a multiple of the first one's."""


def main() -> None:
    """Print a line per number of customers; exit with 1 where memory grows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--customers", type=int, nargs="+", default=[20_000, 80_000])
    parser.add_argument("--categories", type=int, default=2_000)
    parser.add_argument("--features", type=int, default=200_000)
    parser.add_argument("--days", type=int, default=120)
    parser.add_argument("--directory", type=Path, help="where to keep the home meanwhile, by default the system's")
    given = parser.parse_args()
    shape = {name: getattr(given, name) for name in ("categories", "features", "days")}
    settings = {name: value for name, value in os.environ.items() if name.startswith("PROPENSITY_")}
    print(", ".join(f"{value:,} {name}" for name, value in shape.items()), *settings.values(), sep="; ")
    print(f"{'customers':>10s}{'events':>12s}{'wall s':>8s}{'CPU s':>8s}{'customers/s':>13s}", end="")
    print(f"{'events/s':>10s}{'peak GB':>9s}{'lake GB':>9s}")
    peaks = []
    for customers in given.customers:
        flags = [part for name, value in shape.items() for part in (f"--{name}", str(value))]
        with tempfile.TemporaryDirectory(dir=given.directory) as home:
            environment = settings | {"PROPENSITY_HOME": home}
            took = propensity("simulate", "--customers", str(customers), *flags, environment=environment)
            lake = sum(file.stat().st_size for file in Path(home, "lake").rglob("*.parquet"))
        (said,) = re.findall(r"([\d,]+) events", took.said)
        events = int(said.replace(",", ""))
        peaks.append(took.peak)
        print(f"{customers:10,}{events:12,}{took.wall:8.1f}{took.cpu:8.1f}{customers / took.wall:13,.0f}", end="")
        print(f"{events / took.wall:10,.0f}{took.peak / 1e9:9.2f}{lake / 1e9:9.2f}", flush=True)
    grown = peaks[-1] / peaks[0]
    print(f"peak of the last over that of the first {grown:.2f}, to be at most {GROWTH}")
    sys.exit(grown > GROWTH)


if __name__ == "__main__":
    main()
