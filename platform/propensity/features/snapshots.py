"""Building feature snapshots: what was known of every customer at an as_of, as sparse vectors in the lake.

Many as_ofs are built together: the events are read once, and each signal file runs once per bucket of customers for
all of them. A snapshot's run id is derived from what it is made of (imports that reach before the as_of, the text of
the SQL, the label event types), so finished work is never done twice and stale work never kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

from propensity import columns
from propensity.errors import MissingSnapshotError
from propensity.features.attributes import stage_attributes
from propensity.features.dictionary_store import FeatureIndices, Occurring
from propensity.features.events import check_reach, event_imports, imports_before
from propensity.features.generations import run_of_contents
from propensity.features.instants import instants, microseconds
from propensity.features.signal_files import SIGNAL_FILES, SignalFile, check_signal_files
from propensity.features.signal_table import run_signal_file
from propensity.features.snapshot import Snapshot
from propensity.features.snapshot_files import SnapshotFiles, signal_entries
from propensity.features.snapshot_rows import VALUE_DECIMALS, Entries, popularity_sql, sparse_rows
from propensity.features.staging import stage_events, staging_sql
from propensity.progress import Progress, silent
from propensity.spark_session import spark_sql
from propensity.warehouse.catalogue_session import catalogue_session
from propensity.warehouse.categories import load_categories
from propensity.warehouse.connection import lake_connection
from propensity.warehouse.lake import Lake
from propensity.warehouse.publications import row_count
from propensity.warehouse.runs import RunRecord, fingerprint, list_runs, record_run

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

    from propensity.settings import Settings

POPULARITY_DAYS = 30
EXPANDED_ROWS_PER_BUCKET = 8_000_000
"""Events times snapshots that are aggregated at once; about 1.5 GB at the peak."""

LEAST_ROWS_OF_EVENT = 4
"""What an event takes in memory before it meets a snapshot, in expanded rows: occasions are sorted but once."""

AS_OFS_TOGETHER = 52
"""As_ofs built at once: each keeps eight files open, and 1,024 is a usual limit. What is finished stays finished."""

TABLES = (*(columns.feature_view(family) for family in columns.FAMILIES), columns.CATEGORY_POPULARITY)


def build_snapshots(settings: Settings, as_ofs: Sequence[datetime], progress: Progress = silent) -> list[Snapshot]:
    """Build the snapshots of `as_ofs` that aren't there yet; return all of them in time order.

    Raises:
        MissingSnapshotError: The region has no event before one of the as_ofs, or the data ends before it.
        SettingsError: An as_of has no time zone, or a signal file can't be used.
        RuntimeMissingError: `features.engine` is spark, and pyspark or Java isn't installed.
        EngineError: Spark can't be reached, or gave up.

    Side effects: a run per as_of in each feature table and in `category_popularity`; the dictionary grows. Safe to
    repeat and to kill: a snapshot is there whole or not at all.
    """
    imports = event_imports(settings)
    distinct = instants(as_ofs)
    check_reach(settings, distinct, imports)
    check_signal_files(SIGNAL_FILES)
    lake = Lake(settings.lake)
    with lake_connection(settings) as connection:
        attributes = stage_attributes(settings, connection)
        wanted = _wanted(settings, distinct, imports, attributes)
        missing = [as_of for as_of, run_id in wanted.items() if not _is_built(settings, lake, run_id, as_of)]
        if missing:
            with _engine(settings, connection, attributes) as build:
                indices = FeatureIndices(settings)
                for first in range(0, len(missing), AS_OFS_TOGETHER):
                    started = time.monotonic()
                    runs = {as_of: wanted[as_of] for as_of in missing[first : first + AS_OFS_TOGETHER]}
                    relevant = set(imports_before(imports, max(runs)))
                    reaching = [run for run in imports if run.run_id in relevant]
                    build(indices, runs, reaching, _part(progress, first, len(missing)))
                    _record(settings, lake, runs, (time.monotonic() - started) / len(runs))
    return _record(settings, lake, wanted, 0.0)


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
            f"Build it: propensity features build --as-of {day.date() if day.hour == 0 else as_of.isoformat()}"
        )
    return Snapshot(as_of, runs[-1].run_id, runs[-1].rows)


def _wanted(
    settings: Settings, as_ofs: list[datetime], imports: list[RunRecord], attributes: Mapping[str, int]
) -> dict[datetime, str]:
    """Return the run that today's imports and SQL give for each as_of, rising."""
    texts = [staging_sql(), _sql("history"), popularity_sql()]
    signals = [(file.name, file.family, file.sql) for file in SIGNAL_FILES]
    recorded: dict[datetime, list[str]] = {}
    for run in list_runs(settings, kind="features"):
        if run.as_of is not None:
            recorded.setdefault(run.as_of, []).append(run.run_id)
    wanted = {}
    for as_of in as_ofs:
        contents = "features-" + fingerprint(
            settings.region,
            as_of.isoformat(),
            imports_before(imports, as_of),
            sorted(run_id for run_id, first_us in attributes.items() if first_us <= microseconds(as_of)),
            texts,
            settings.timezone,
            settings.labels.event_types,
            POPULARITY_DAYS,
            VALUE_DECIMALS,
            signals,
        )
        wanted[as_of] = run_of_contents(contents, recorded.get(as_of, []))
    return wanted


def _is_built(settings: Settings, lake: Lake, run_id: str, as_of: datetime) -> bool:
    return all(lake.has_run(table, settings.region, run_id, as_of) for table in TABLES)


@contextmanager
def _engine(
    settings: Settings, connection: duckdb.DuckDBPyConnection, attributes: Mapping[str, int]
) -> Iterator[Callable[[FeatureIndices, dict[datetime, str], list[RunRecord], Progress], None]]:
    """Yield what builds a group of runs from the imports that reach before the last one."""
    if settings.features.engine == "local":
        yield partial(_build, settings, connection, Lake(settings.lake))
        return
    from propensity.features import spark_snapshots  # noqa: PLC0415 - sqlglot, which only Spark needs

    with spark_sql(settings, f"propensity features {settings.region}") as spark:

        def build(
            indices: FeatureIndices, runs: dict[datetime, str], imports: list[RunRecord], progress: Progress
        ) -> None:
            inputs = spark_snapshots.SnapshotInputs(runs, imports, attributes.keys(), SIGNAL_FILES, POPULARITY_DAYS)
            spark_snapshots.write_snapshots(settings, spark, indices, inputs, progress)

        yield build


def _build(
    settings: Settings,
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    indices: FeatureIndices,
    runs: dict[datetime, str],
    imports: list[RunRecord],
    progress: Progress,
) -> None:
    with (
        lake.staged() as directory,
        SnapshotFiles(lake, settings.region, runs, load_categories(settings).names) as files,
    ):
        buckets = _stage(settings, connection, list(runs), imports, directory)
        for number, (first, last) in enumerate(buckets):
            connection.execute("SET VARIABLE first_customer = ?", [first])
            connection.execute("SET VARIABLE last_customer = ?", [last])
            connection.execute(_sql("history"))
            files.start_bucket(connection)
            built = []
            for position, file in enumerate(SIGNAL_FILES):
                built.append(_run_signal(connection, file))
                progress("features", number * len(SIGNAL_FILES) + position + 1, len(buckets) * len(SIGNAL_FILES))
            indices.extend([occurring for occurring, _ in built])
            for family in columns.FAMILIES:
                files.write_family(family, sparse_rows(_of_family(family, built, indices), files.n_rows))
            built.clear()
            files.count_popularity(connection, settings.labels.event_types, POPULARITY_DAYS)


def _stage(
    settings: Settings,
    connection: duckdb.DuckDBPyConnection,
    as_ofs: list[datetime],
    imports: list[RunRecord],
    directory: Path,
) -> list[tuple[str, str]]:
    """Create `snapshots` and, its file in the directory, `staged`; return each bucket's first and last customer_id.

    Buckets follow the order of customers, so that a snapshot's rows stand in that order however many there were: a
    build that was killed may be finished by one with other buckets.
    """
    connection.execute("CREATE OR REPLACE TEMP TABLE snapshots (snapshot INTEGER, as_of_us BIGINT)")
    connection.executemany(
        "INSERT INTO snapshots VALUES (?, ?)", [(number, microseconds(as_of)) for number, as_of in enumerate(as_ofs)]
    )
    stage_events(settings, connection, imports, microseconds(as_ofs[-1]), directory)
    return connection.execute(
        """
        SELECT min(customer_id), max(customer_id)
        FROM (
            SELECT customer_id, (sum(count(*)) OVER (ORDER BY customer_id) - 1) * $weight // $rows AS bucket
            FROM staged
            GROUP BY customer_id
        )
        GROUP BY bucket
        ORDER BY 1
        """,
        {"weight": max(len(as_ofs), LEAST_ROWS_OF_EVENT), "rows": EXPANDED_ROWS_PER_BUCKET},
    ).fetchall()


def _run_signal(connection: duckdb.DuckDBPyConnection, file: SignalFile) -> tuple[Occurring, list[Entries]]:
    signals = run_signal_file(connection, file)
    rows = connection.execute("SELECT DISTINCT key FROM signal WHERE key IS NOT NULL ORDER BY key").fetchall()
    keys = [str(key) for (key,) in rows]
    return Occurring(file, signals, keys), signal_entries(connection, signals, keys)


def _of_family(family: str, built: Sequence[tuple[Occurring, list[Entries]]], indices: FeatureIndices) -> list[Entries]:
    """Return the entries of the family's signals by feature_index; a family without signals has none."""
    nothing = np.empty(0, np.int32)
    found = [Entries(nothing, nothing, np.empty(0, np.float32))]
    for occurring, entries in built:
        if occurring.file.family == family:
            for signal, part in zip(occurring.signals, entries, strict=True):
                index = indices.of(signal, occurring.keys)
                found.append(Entries(part.position, index[part.column], part.value))
    return found


def _record(settings: Settings, lake: Lake, runs: dict[datetime, str], seconds: float) -> list[Snapshot]:
    """Record those of the runs that aren't; return all of them."""
    known = {run.run_id: run.rows for run in list_runs(settings, kind="features")}
    new = {as_of: run_id for as_of, run_id in runs.items() if run_id not in known}
    for as_of, run_id in new.items():
        directory = lake.run_directory(columns.feature_view("profile"), settings.region, run_id, as_of)
        known[run_id] = row_count(directory)
    if new:
        with catalogue_session(settings) as session:
            for as_of, run_id in new.items():
                record_run(
                    session,
                    RunRecord(
                        run_id,
                        settings.region,
                        "features",
                        "finished",
                        as_of,
                        known[run_id],
                        seconds,
                        datetime.now(UTC),
                        {},
                    ),
                )
    return [Snapshot(as_of, run_id, known[run_id]) for as_of, run_id in runs.items()]


def _part(progress: Progress, built: int, missing: int) -> Progress:
    """Return a progress of the next as_ofs, in hundredths of one: `built` of `missing` were built before."""
    together = min(AS_OFS_TOGETHER, missing - built)

    def report(step: str, done: int, total: int) -> None:
        progress(step, 100 * built + 100 * together * done // total, 100 * missing)

    return report


def _sql(name: str) -> str:
    return resources.files("propensity.features").joinpath(f"{name}.sql").read_text()
