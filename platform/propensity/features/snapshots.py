"""Building feature snapshots: what was known of every customer at an as_of, as sparse vectors in the lake.

Many as_ofs are built together: the events are read once, and each signal file runs once per bucket of customers for
all of them. A snapshot's run id is derived from what it is made of (imports that reach before the as_of, the text of
the SQL, the label event types), so finished work is never done twice and stale work never kept.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from propensity import columns
from propensity.errors import MissingSnapshotError
from propensity.features.dictionary_store import extend_dictionary
from propensity.features.events import data_end, event_files, event_imports, imports_before
from propensity.features.signal_files import SIGNAL_FILES, SignalFile
from propensity.features.snapshot_files import Entries, SnapshotFiles, signal_entries, sparse_rows
from propensity.progress import Progress, silent
from propensity.warehouse.catalogue_session import catalogue_session
from propensity.warehouse.categories import load_categories
from propensity.warehouse.connection import lake_connection
from propensity.warehouse.lake import Lake
from propensity.warehouse.runs import RunRecord, fingerprint, list_runs, record_run

if TYPE_CHECKING:
    import duckdb

    from propensity.settings import Settings

POPULARITY_DAYS = 30
EXPANDED_ROWS_PER_BUCKET = 10_000_000
"""Events times snapshots that are aggregated at once; about 1.5 GB at the peak."""

TABLES = (*(columns.feature_view(family) for family in columns.FAMILIES), columns.CATEGORY_POPULARITY)


@dataclass(frozen=True)
class Snapshot:
    """A finished snapshot: its as_of, its run, and its number of customers."""

    as_of: datetime
    run_id: str
    rows: int


def snapshot_run_id(settings: Settings, as_of: datetime, imports: list[RunRecord]) -> str:
    """Return the id of the snapshot that today's imports and SQL give for `as_of`."""
    history = resources.files("propensity.features").joinpath("history.sql").read_text()
    attributes = [run.run_id for run in list_runs(settings, kind="attributes")]
    return "features-" + fingerprint(
        settings.region, as_of.isoformat(), imports_before(imports, as_of), attributes, history, settings.timezone,
        settings.labels.event_types, [(file.name, file.family, file.sql) for file in SIGNAL_FILES])


def build_snapshots(
    settings: Settings, as_ofs: Sequence[datetime], progress: Progress = silent
) -> list[Snapshot]:
    """Build the snapshots of `as_ofs` that aren't there yet; return all of them in time order.

    Raises:
        MissingSnapshotError: The region has no event before one of the as_ofs, or the data ends before it.

    Side effects: a run per as_of in each feature table and in `category_popularity`; the dictionary grows. Safe to
    repeat and to kill: a snapshot is there whole or not at all.
    """
    started = time.monotonic()
    imports = event_imports(settings)
    wanted = {as_of: snapshot_run_id(settings, as_of, imports) for as_of in sorted(set(as_ofs))}
    _check_reach(settings, list(wanted), imports)
    lake = Lake(settings.lake)
    missing = [
        as_of for as_of, run_id in wanted.items()
        if not all(lake.has_run(table, settings.region, run_id, as_of) for table in TABLES)]
    if missing:
        with lake_connection(settings) as connection:
            _build(settings, connection, lake, {as_of: wanted[as_of] for as_of in missing}, imports, progress)
    return _record(settings, lake, wanted, (time.monotonic() - started) / max(1, len(missing)))


def find_snapshot(settings: Settings, as_of: datetime) -> Snapshot:
    """Return the newest snapshot built for `as_of`. Read-only.

    Raises:
        MissingSnapshotError: There is none.
    """
    runs = list_runs(settings, kind="features", as_of=as_of)
    if not runs:
        day = as_of.astimezone(settings.zone)
        raise MissingSnapshotError(
            f"No feature snapshot for {as_of.isoformat()} in region {settings.region!r}. "
            f"Build it: propensity features build --as-of {day.date() if day.hour == 0 else as_of.isoformat()}")
    return Snapshot(as_of, runs[-1].run_id, runs[-1].rows)


def _check_reach(settings: Settings, as_ofs: list[datetime], imports: list[RunRecord]) -> None:
    end = data_end(settings, imports)
    for as_of in as_ofs:
        if not imports_before(imports, as_of):
            raise MissingSnapshotError(
                f"Region {settings.region!r} has no event before {as_of.isoformat()}: nothing to build from.")
        if as_of > end:
            raise MissingSnapshotError(
                f"The events of region {settings.region!r} end by {end.isoformat()}, before {as_of.isoformat()}. "
                "Import newer events, or choose an earlier as_of.")


def _build(
    settings: Settings, connection: duckdb.DuckDBPyConnection, lake: Lake, runs: dict[datetime, str],
    imports: list[RunRecord], progress: Progress,
) -> None:
    as_ofs = list(runs)
    buckets = _stage(settings, connection, as_ofs, imports)
    categories = load_categories(settings)
    steps = buckets * len(SIGNAL_FILES)
    with SnapshotFiles(lake, settings.region, runs, categories.names) as files:
        for bucket in range(buckets):
            connection.execute(f"SET VARIABLE bucket = {bucket}")
            connection.execute(resources.files("propensity.features").joinpath("history.sql").read_text())
            files.start_bucket(connection)
            results: dict[str, list[Entries]] = {family: [] for family in columns.FAMILIES}
            for number, file in enumerate(SIGNAL_FILES):
                results[file.family].append(_run_signal(settings, connection, file))
                progress("features", bucket * len(SIGNAL_FILES) + number + 1, steps)
            for family in columns.FAMILIES:
                files.write_family(family, sparse_rows(results.pop(family), files.n_rows))
            files.count_popularity(connection, settings.labels.event_types, POPULARITY_DAYS)


def _stage(
    settings: Settings, connection: duckdb.DuckDBPyConnection, as_ofs: list[datetime], imports: list[RunRecord]
) -> int:
    """Create `snapshots`, `staged` and `attributes`; return the number of buckets."""
    relevant = [run for run in imports if run.run_id in imports_before(imports, as_ofs[-1])]
    connection.execute("CREATE TEMP TABLE snapshots (snapshot INTEGER, as_of_us BIGINT)")
    connection.executemany(
        "INSERT INTO snapshots VALUES (?, ?)",
        [(number, int(as_of.timestamp() * 1_000_000)) for number, as_of in enumerate(as_ofs)])
    files = event_files(settings, relevant)
    (events,) = connection.execute("SELECT count(*) FROM read_parquet(?)", [files]).fetchone() or (0,)
    buckets = max(1, -(-events * len(as_ofs) // EXPANDED_ROWS_PER_BUCKET))
    connection.execute(
        resources.files("propensity.features").joinpath("staging.sql").read_text(),
        {"files": files, "timezone": settings.timezone, "buckets": buckets,
         "end": int(as_ofs[-1].timestamp() * 1_000_000)})
    attributes = [str(file) for file in Lake(settings.lake).files(columns.CUSTOMERS, settings.region)]
    source = (
        f"SELECT customer_id, attribute, value, imported_timestamp, epoch_us(created_timestamp) AS created_us "
        f"FROM read_parquet({attributes})" if attributes else
        "SELECT NULL::VARCHAR AS customer_id, NULL::VARCHAR AS attribute, NULL::VARCHAR AS value, "
        "NULL::TIMESTAMPTZ AS imported_timestamp, NULL::BIGINT AS created_us WHERE false")
    connection.execute(f"CREATE TEMP TABLE attributes AS {source}")
    return int(buckets)


def _run_signal(settings: Settings, connection: duckdb.DuckDBPyConnection, file: SignalFile) -> Entries:
    connection.execute(f"CREATE OR REPLACE TEMP TABLE signal AS {file.sql}")
    names = [name for name, *_ in connection.execute("DESCRIBE signal").fetchall()]
    signals = tuple(names[3:])
    keys = [key for (key,) in connection.execute(
        "SELECT DISTINCT key FROM signal WHERE key IS NOT NULL ORDER BY key").fetchall()]
    dictionary = extend_dictionary(settings, [(file, signals, keys)])
    return signal_entries(connection, dictionary, signals, keys)


def _record(settings: Settings, lake: Lake, runs: dict[datetime, str], seconds: float) -> list[Snapshot]:
    known = {run.run_id: run for run in list_runs(settings, kind="features")}
    snapshots = []
    for as_of, run_id in runs.items():
        if run_id not in known:
            directory = lake.run_directory(columns.feature_view("profile"), settings.region, run_id, as_of)
            rows = sum(pq.read_metadata(file).num_rows for file in directory.glob("*.parquet"))
            with catalogue_session(settings) as session:
                record_run(session, RunRecord(
                    run_id, settings.region, "features", "finished", as_of, rows, seconds, datetime.now(UTC), {}))
            snapshots.append(Snapshot(as_of, run_id, rows))
        else:
            snapshots.append(Snapshot(as_of, run_id, known[run_id].rows))
    return snapshots
