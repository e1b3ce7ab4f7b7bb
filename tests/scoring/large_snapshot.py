"""A snapshot of many customers, made of a small one's rows, and a process that scores it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from propensity import columns
from propensity.features.snapshot import Snapshot
from propensity.features.snapshots import find_snapshot
from propensity.scoring.parts import parts_of
from propensity.settings import Settings
from propensity.warehouse.lake import Lake
from propensity.warehouse.regions import local_midnight
from tests import shop

CUSTOMERS = 60_000
"""Of `large_home`."""
PARTS = [part.name for part in parts_of(CUSTOMERS)]
CREATED = "2024-08-02T10:00:00+00:00"
SCORE = f"""if True:
    import os, resource, sys
    from datetime import date, datetime
    from pathlib import Path
    from propensity.scoring import service
    from propensity.settings import load_settings
    from propensity.warehouse.regions import local_midnight
    # Two homes can hold the same bytes only if they were written at the same time.
    service.created_after = lambda newest: datetime.fromisoformat("{CREATED}")
    def within_a_small_disk(*arguments, write=service._write):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
        write(*arguments)
    if len(sys.argv) > 1:
        service._write = within_a_small_disk
    settings = load_settings()
    result = service.score(settings, local_midnight(date.fromisoformat("{shop.AS_OF}"), settings))
    peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
    print(result.run.rows, int(peak) * 1024)
"""
"""Prints the rows published and the most memory the process had, bytes."""
OPTIONS = {"PROPENSITY_THREADS": "2", "PROPENSITY_TOP_K": "4"}
"""Another top_k than the finished home's: its publication is of other inputs."""


def as_of_of(settings: Settings) -> datetime:
    return local_midnight(date.fromisoformat(shop.AS_OF), settings)


def enlarge(home: Path, customers: int) -> Settings:
    """Give the home's snapshot so many customers, its own rows over and over; return the settings to score it with."""
    settings = shop.settings_of(home, threads=2, top_k=4)
    snapshot = find_snapshot(settings, as_of_of(settings))
    names = pa.array([f"c{number:07d}" for number in range(customers)])
    for number, family in enumerate(columns.FAMILIES):
        file = feature_file(settings, snapshot, family)
        rows = pq.read_table(file, partitioning=None)
        many = rows.take(pa.array(np.arange(customers) % rows.num_rows))
        many = many.set_column(many.schema.get_field_index(columns.CUSTOMER_ID), columns.CUSTOMER_ID, names)
        # A build's buckets decide on row groups; another build's may differ.
        pq.write_table(many, file, row_group_size=5_000 + 1_001 * number)
    return settings


def feature_file(settings: Settings, snapshot: Snapshot, family: str) -> Path:
    view = columns.feature_view(family)
    return Lake(settings.lake).run_directory(view, "us", snapshot.run_id, snapshot.as_of) / "part-0.parquet"


def start(home: Path, *arguments: str, **options: str) -> subprocess.Popen[str]:
    """Start a process that scores the home's snapshot."""
    return subprocess.Popen(
        [sys.executable, "-c", SCORE, *arguments],
        env=shop.environment(home, **OPTIONS | options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(home: Path, **options: str) -> tuple[int, int]:
    """Score the home's snapshot to the end; return the rows published and the process's most memory in bytes."""
    out, err = (running := start(home, **options)).communicate()
    assert running.returncode == 0, err
    rows, peak = out.split()
    return int(rows), int(peak)


def published(home: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of the publication with `OPTIONS`, by name."""
    files = [file for file in scored_files(home) if file.parent != first_publication(home)]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def scored_files(home: Path) -> list[Path]:
    return sorted(home.glob("lake/category_propensity/*/*/*/*.parquet"))


def first_publication(home: Path) -> Path:
    """The finished home's own, of the snapshot as it was built."""
    (directory,) = {file.parent for file in scored_files(home) if pq.read_metadata(file).num_rows == shop.CUSTOMERS}
    return directory


def published_inodes(home: Path) -> dict[str, int]:
    """Return the inode of each part of the publication with `OPTIONS`, by name."""
    return {file.stem: file.stat().st_ino for file in scored_files(home) if file.parent != first_publication(home)}


def finished_parts(home: Path) -> dict[str, int]:
    """Return the inode of each part that has a manifest, by name: who writes a file anew gets another one."""
    return {
        manifest.stem: (manifest.parent.parent / "parts" / f"{manifest.stem}.parquet").stat().st_ino
        for manifest in home.glob("lake/.unfinished/*/manifests/*.json")
    }
