"""Building labels: what each customer did in the label window `[as_of, as_of + horizon)`.

A label row carries its as_of, and its event_timestamp is the window's end, when it became known: a training run as of
T that asks Feast for labels at T gets only windows that had ended.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from propensity import columns
from propensity.errors import MissingSnapshotError
from propensity.features.events import data_end, event_imports, imports_before
from propensity.features.generations import run_of_contents
from propensity.features.instants import instants, microseconds
from propensity.features.label_rows import LabelRun, label_tables
from propensity.features.snapshot import Snapshot
from propensity.features.staging import stage_events, staging_sql
from propensity.progress import Progress, silent
from propensity.spark_session import spark_sql
from propensity.warehouse.catalogue_session import catalogue_session
from propensity.warehouse.categories import load_categories
from propensity.warehouse.connection import lake_connection
from propensity.warehouse.lake import Lake
from propensity.warehouse.publications import row_count
from propensity.warehouse.regions import local_days_later
from propensity.warehouse.runs import RunRecord, fingerprint, list_runs, record_run

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.settings import Settings


@dataclass(frozen=True)
class LabelCounts:
    """How often each label comes in some windows.

    Attributes:
        rows: Customers, each as often as there are windows that she was known at.
        at_least: Rows of class k or a higher one, k = 1 .. K - 1, by category_index, int64, (K - 1, n_categories).
    """

    rows: int
    at_least: npt.NDArray[np.int64]


def label_window_end(settings: Settings, as_of: datetime) -> datetime:
    """Return the end of the label window of `as_of`: `horizon_days` local days later."""
    return local_days_later(as_of, settings.labels.horizon_days, settings)


def label_run_id(settings: Settings, as_of: datetime, imports: list[RunRecord]) -> str:
    """Return what names the labels that today's imports and settings give for `as_of`; their first run's id."""
    end = label_window_end(settings, as_of)
    return "labels-" + fingerprint(
        settings.region,
        as_of.isoformat(),
        end.isoformat(),
        imports_before(imports, end),
        settings.labels.event_types,
        staging_sql(),
        _sql("labels"),
    )


def build_labels(settings: Settings, as_ofs: Sequence[datetime], progress: Progress = silent) -> list[Snapshot]:
    """Build the labels of `as_ofs` that aren't there yet; return all of them in time order.

    Raises:
        MissingSnapshotError: A window hasn't ended by the newest imported event, or nothing precedes an as_of.
        SettingsError: An as_of has no time zone.
        RuntimeMissingError: `features.engine` is spark, and pyspark or Java isn't installed.
        EngineError: Spark can't be reached, or gave up.

    Side effects: a run per as_of in `category_labels`. Safe to repeat and to kill.
    """
    started = time.monotonic()
    imports = event_imports(settings)
    distinct = instants(as_ofs)
    _check_ended(settings, distinct, imports)
    recorded = _recorded(settings)
    wanted = {
        as_of: run_of_contents(
            label_run_id(settings, as_of, imports),
            [run.run_id for run in recorded.get(label_window_end(settings, as_of), [])],
        )
        for as_of in distinct
    }
    lake = Lake(settings.lake)
    missing = {
        as_of: run_id
        for as_of, run_id in wanted.items()
        if not lake.has_run(columns.CATEGORY_LABELS, settings.region, run_id, as_of)
    }
    if missing:
        _build(settings, lake, missing, imports, progress)
    return _record(settings, lake, wanted, recorded, (time.monotonic() - started) / max(1, len(missing)))


def find_labels(settings: Settings, as_of: datetime) -> Snapshot:
    """Return the newest labels built for the window of `as_of`, those that Feast gives. Read-only.

    Raises:
        MissingSnapshotError: There are none.
    """
    runs = _recorded(settings).get(label_window_end(settings, as_of), [])
    if not runs or runs[-1].as_of != as_of:
        raise MissingSnapshotError(
            f"No labels for the {settings.labels.horizon_days} days from {as_of.isoformat()} in region "
            f"{settings.region!r}. Build them: propensity labels build --as-of {as_of.astimezone(settings.zone).date()}"
        )
    return Snapshot(as_of, runs[-1].run_id, runs[-1].rows)


def count_labels(settings: Settings, as_ofs: Sequence[datetime]) -> LabelCounts:
    """Count the labels of the windows that start at `as_ofs`, the newest built. Read-only; memory is a batch's.

    Raises:
        MissingSnapshotError: There are none for one of them, or the lake lacks them.
    """
    lake = Lake(settings.lake)
    rows, n_categories = 0, len(load_categories(settings))
    # Class 0 isn't stored: its row stays empty.
    of_class = np.zeros((settings.labels.n_classes, n_categories), np.int64)
    for as_of in as_ofs:
        run = find_labels(settings, as_of)
        files = lake.files(columns.CATEGORY_LABELS, settings.region, run_id=run.run_id, as_of=as_of)
        if not files:
            raise MissingSnapshotError(
                f"The lake lacks {lake.run_directory(columns.CATEGORY_LABELS, settings.region, run.run_id, as_of)}. "
                f"Build it again: propensity labels build --as-of {as_of.astimezone(settings.zone).date()}"
            )
        for file in files:
            for batch in pq.ParquetFile(file).iter_batches(columns=[columns.LABEL_CATEGORIES, columns.LABEL_CLASSES]):
                category = batch.column(columns.LABEL_CATEGORIES).flatten().to_numpy()
                label = batch.column(columns.LABEL_CLASSES).flatten().to_numpy().astype(np.int64)
                of_class += np.bincount(label * n_categories + category, minlength=of_class.size).reshape(
                    of_class.shape
                )
                rows += len(batch)
    at_least = np.cumsum(of_class[::-1], axis=0)[::-1][1:]
    return LabelCounts(rows, at_least)


def _recorded(settings: Settings) -> dict[datetime, list[RunRecord]]:
    """Return the label runs by the end of their window, oldest first.

    By its end, not by its start: that is the time of a label's row in Feast, where the run recorded last wins.
    """
    recorded: dict[datetime, list[RunRecord]] = {}
    for run in list_runs(settings, kind="labels"):
        recorded.setdefault(datetime.fromisoformat(run.detail["label_window_end"]), []).append(run)
    return recorded


def _check_ended(settings: Settings, as_ofs: list[datetime], imports: list[RunRecord]) -> None:
    end = data_end(settings, imports)
    for as_of in as_ofs:
        if label_window_end(settings, as_of) > end:
            raise MissingSnapshotError(
                f"The label window of {as_of.isoformat()} ends at {label_window_end(settings, as_of).isoformat()}, "
                f"but the events of region {settings.region!r} end by {end.isoformat()}: its labels aren't known yet. "
                "Choose an earlier as_of, or import newer events."
            )
        if not imports_before(imports, as_of):
            raise MissingSnapshotError(
                f"Region {settings.region!r} has no event before {as_of.isoformat()}: nobody to label."
            )


def _build(
    settings: Settings, lake: Lake, wanted: dict[datetime, str], imports: list[RunRecord], progress: Progress
) -> None:
    created = datetime.now(UTC)
    runs = [
        LabelRun(as_of, label_window_end(settings, as_of), created, settings.region, run_id)
        for as_of, run_id in wanted.items()
    ]
    if settings.features.engine == "spark":
        from propensity.features.spark_labels import write_labels  # noqa: PLC0415 - sqlglot, which only Spark needs

        with spark_sql(settings, f"propensity labels {settings.region}") as spark:
            write_labels(settings, spark, runs, imports)
        progress("labels", len(runs), len(runs))
        return
    ends = [microseconds(run.window_end) for run in runs]
    tables = label_tables(
        [microseconds(run.as_of) for run in runs], ends, settings.labels.event_types, load_categories(settings).names
    )
    with lake.staged() as scratch, lake_connection(settings) as connection:
        for name, table in tables.items():
            connection.register(name, table)
        stage_events(settings, connection, imports, max(ends), scratch)
        labels = connection.execute(_sql("labels")).to_arrow_table()
    for number, run in enumerate(runs):
        rows = labels.filter(pc.equal(labels.column("snapshot"), number))
        with lake.new_run(columns.CATEGORY_LABELS, settings.region, run.run_id, run.as_of) as directory:
            pq.write_table(run.rows(rows), directory / "part-0.parquet", compression="zstd")
        progress("labels", number + 1, len(runs))


def _record(
    settings: Settings,
    lake: Lake,
    runs: dict[datetime, str],
    recorded: dict[datetime, list[RunRecord]],
    seconds: float,
) -> list[Snapshot]:
    """Record those of the runs that aren't; return all of them."""
    known = {run.run_id: run.rows for same_end in recorded.values() for run in same_end}
    with catalogue_session(settings) as session:
        for as_of, run_id in runs.items():
            if run_id in known:
                continue
            directory = lake.run_directory(columns.CATEGORY_LABELS, settings.region, run_id, as_of)
            known[run_id] = row_count(directory)
            end = label_window_end(settings, as_of)
            record_run(
                session,
                RunRecord(
                    run_id,
                    settings.region,
                    "labels",
                    "finished",
                    as_of,
                    known[run_id],
                    seconds,
                    datetime.now(UTC),
                    {"label_window_end": end.isoformat()},
                ),
            )
    return [Snapshot(as_of, run_id, known[run_id]) for as_of, run_id in runs.items()]


def _sql(name: str) -> str:
    return resources.files("propensity.features").joinpath(f"{name}.sql").read_text()
