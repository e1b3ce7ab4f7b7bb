"""Building snapshots on Spark, for events that outgrow one machine: the same SQL, the same rows.

The driver learns from each signal file which keys there are, gives them their indices, and sends the dictionary to the
workers. Entries of all files go to the part of their customer, whose task writes the part's files (`spark_parts`); the
driver moves them into the runs, which appear by a rename each. All machines see the home under the same path.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from propensity import columns
from propensity.features.attributes import attribute_files, attributes_sql
from propensity.features.dictionary_store import FeatureIndices, Occurring
from propensity.features.instants import microseconds
from propensity.features.signal_files import SignalFile
from propensity.features.signal_table import signals_of
from propensity.features.snapshot_rows import ROUNDING_OFFSET, VALUE_DECIMALS, Origin, popularity_sql, write_popularity
from propensity.features.spark_parts import SPINE, WRITTEN, SnapshotParts, move_parts, written_files
from propensity.features.spark_relations import SparkRelations
from propensity.warehouse.categories import load_categories
from propensity.warehouse.lake import Lake
from propensity.warehouse.schemas import FEATURE_SCHEMA

if TYPE_CHECKING:
    from propensity.progress import Progress
    from propensity.settings import Settings
    from propensity.warehouse.runs import RunRecord


@dataclass(frozen=True)
class SnapshotInputs:
    """What a group of snapshots is made of.

    Attributes:
        runs: Run id by as_of, in time order.
        imports: Of events that reach before the last as_of.
        attributes: Ids of the imports of attributes.
        files: The signals.
        popularity_days: Days before an as_of that make a category popular.
    """

    runs: dict[datetime, str]
    imports: list[RunRecord]
    attributes: Collection[str]
    files: Sequence[SignalFile]
    popularity_days: int


def write_snapshots(
    settings: Settings, spark: Any, indices: FeatureIndices, inputs: SnapshotInputs, progress: Progress
) -> None:
    """Build the snapshots and publish their runs.

    Args:
        settings: Of the home and region.
        spark: A session of `spark_session.spark_sql`.
        indices: The dictionary; it grows.
        inputs: What of.
        progress: Told of signal files.

    Raises:
        SettingsError: A signal file can't be used.
        MissingSnapshotError: The lake lacks an import's files.

    Side effects: a run per as_of in each feature table and in `category_popularity`. A kill leaves no half run.
    """
    lake, steps = Lake(settings.lake), len(inputs.files) + 1
    with lake.staged() as directory, SparkRelations(spark) as relations:
        _stage(settings, relations, inputs)
        customers = np.zeros(len(inputs.runs), np.int64)
        for snapshot, n in spark.sql("SELECT snapshot, count(*) FROM spine GROUP BY snapshot").collect():
            customers[snapshot] = n
        signals, built = [], []
        for number, file in enumerate(inputs.files):
            rows, occurring = run_signal(relations, file)
            signals.append(rows)
            built.append(occurring)
            progress("features", number + 1, steps)
        indices.extend(built)
        n_parts, part = relations.parts_of("spine", int(customers.sum()))
        known = spark.sql(
            f"SELECT {part} AS part, snapshot, customer_id, {SPINE} AS family, "
            "CAST(array() AS ARRAY<STRUCT<index: INT, value: FLOAT>>) AS entries FROM spine"
        )
        entries = [
            signal_entries(relations, rows, occurring, indices, part)
            for rows, occurring in zip(signals, built, strict=True)
        ]
        created = datetime.now(UTC)
        origins = {run_id: Origin(as_of, created, settings.region, run_id) for as_of, run_id in inputs.runs.items()}
        told = (
            reduce(lambda one, other: one.union(other), entries, known)
            .repartitionById(n_parts, "part")
            .sortWithinPartitions("snapshot", "customer_id")
            .mapInArrow(SnapshotParts(directory, tuple(origins.values())), WRITTEN)
            .collect()
        )
        written = written_files([tuple(row) for row in told])
        buyers = _buyers(settings, relations, inputs)
        names = load_categories(settings).names
        with ExitStack() as stack:
            for number, origin in enumerate(origins.values()):
                run = settings.region, origin.run_id, origin.as_of
                for family in columns.FAMILIES:
                    table = columns.feature_view(family)
                    target = stack.enter_context(lake.new_run(table, *run))
                    move_parts(directory, written.get((table, number), []), target, FEATURE_SCHEMA)
                target = stack.enter_context(lake.new_run(columns.CATEGORY_POPULARITY, *run))
                write_popularity(target, names, buyers[number], int(customers[number]), origin)
        progress("features", steps, steps)


def run_signal(relations: SparkRelations, file: SignalFile) -> tuple[Any, Occurring]:
    """Run a signal file; return its rows, which are kept, and its signals and keys.

    Raises:
        SettingsError: Spark refuses the SQL, or its columns aren't those of a signal file.
    """
    frame = relations.run(file.sql, f"signals/{file.name}.sql")
    signals = signals_of(file, frame.columns)
    doubles = (f"CAST(`{signal}` AS DOUBLE) AS value_{number}" for number, signal in enumerate(signals))
    rows = frame.selectExpr("snapshot", "customer_id", "CAST(key AS STRING) AS key", *doubles)
    rows = relations.define("signal", rows.where("key IS NOT NULL"), kept=True)
    # Python and DuckDB both order strings by their code points, so both engines give new keys the same indices.
    keys = sorted(str(row[0]) for row in rows.select("key").distinct().collect())
    return rows, Occurring(file, signals, keys)


def signal_entries(
    relations: SparkRelations, rows: Any, occurring: Occurring, indices: FeatureIndices, part: str
) -> Any:
    """Return a signal file's non-zeros: part, snapshot, customer_id, family and entries (list of index and value).

    A value beyond float32 is left out. Rounded as the local engine does it, halves aside: they lie where no simple
    fraction is, see `ROUNDING_OFFSET`.
    """
    signals = range(len(occurring.signals))
    places = {
        f"index_{number}": pa.array(indices.of(signal, occurring.keys), pa.int32())
        for number, signal in enumerate(occurring.signals)
    }
    keys = relations.spark.createDataFrame(pa.table({"key": pa.array(occurring.keys, pa.string())} | places))
    scale = 10**VALUE_DECIMALS
    pairs = ", ".join(
        f"named_struct('index', index_{number}, 'value', "
        f"CAST(rint((value_{number} + {ROUNDING_OFFSET}D) * {scale}) / {scale}D AS FLOAT))"
        for number in signals
    )
    found = f"filter(array({pairs}), pair -> pair.value <> 0 AND abs(pair.value) < CAST('Infinity' AS FLOAT))"
    family = columns.FAMILIES.index(occurring.file.family)
    return (
        rows.join(keys.hint("broadcast"), "key")
        .selectExpr(f"{part} AS part", "snapshot", "customer_id", f"{family} AS family", f"{found} AS entries")
        .where("size(entries) > 0")
    )


def _stage(settings: Settings, relations: SparkRelations, inputs: SnapshotInputs) -> None:
    """Define everything that signal files read."""
    instants = [microseconds(as_of) for as_of in inputs.runs]
    snapshots = {"snapshot": pa.array(range(len(instants)), pa.int32()), "as_of_us": pa.array(instants, pa.int64())}
    relations.tables({"snapshots": pa.table(snapshots)})
    files = attribute_files(settings, inputs.attributes)
    if files:
        relations.read(files)
    relations.define("attributes", relations.run(attributes_sql(files), "the attributes"))
    relations.stage_events(settings, inputs.imports, instants[-1], len(instants))
    relations.run(resources.files("propensity.features").joinpath("history.sql").read_text(), "history.sql")


def _buyers(settings: Settings, relations: SparkRelations, inputs: SnapshotInputs) -> Any:
    """Return the customers who acted in each category before each snapshot, int64, (n_snapshots, n_categories)."""
    index = {category: number for number, category in enumerate(load_categories(settings).names)}
    buyers = np.zeros((len(inputs.runs), len(index)), np.int64)
    counted = relations.run(
        popularity_sql(),
        "popularity.sql",
        event_types=list(settings.labels.event_types),
        days=inputs.popularity_days,
    )
    for snapshot, category, n in counted.collect():
        buyers[snapshot, index[category]] = n
    return buyers
