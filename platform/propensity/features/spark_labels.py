"""Building labels on Spark: the same SQL, the same rows; parts of customers as for snapshots."""

from __future__ import annotations

from contextlib import ExitStack
from importlib import resources
from typing import TYPE_CHECKING, Any

from propensity import columns
from propensity.features.instants import microseconds
from propensity.features.label_rows import LabelRun, label_tables
from propensity.features.spark_parts import WRITTEN, LabelParts, move_parts, written_files
from propensity.features.spark_relations import SparkRelations
from propensity.warehouse.categories import load_categories
from propensity.warehouse.lake import Lake
from propensity.warehouse.schemas import LABEL_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from propensity.settings import Settings
    from propensity.warehouse.runs import RunRecord


def write_labels(settings: Settings, spark: Any, runs: Sequence[LabelRun], imports: list[RunRecord]) -> None:
    """Build the labels of the windows, which are in time order, and publish their runs.

    Args:
        settings: Of the home and region.
        spark: A session of `spark_session.spark_sql`.
        runs: Of each window.
        imports: Of events.

    Raises:
        MissingSnapshotError: The lake lacks an import's files.

    Side effects: a run per window in `category_labels`. A kill leaves no half run.
    """
    lake = Lake(settings.lake)
    ends = [microseconds(run.window_end) for run in runs]
    with lake.staged() as directory, SparkRelations(spark) as relations:
        relations.tables(
            label_tables(
                [microseconds(run.as_of) for run in runs],
                ends,
                settings.labels.event_types,
                load_categories(settings).names,
            )
        )
        relations.stage_events(settings, imports, max(ends), len(runs))
        text = resources.files("propensity.features").joinpath("labels.sql").read_text()
        labels = relations.define("labels", relations.run(text, "labels.sql"), kept=True)
        n_parts, part = relations.parts_of("labels", labels.count())
        told = (
            labels.selectExpr(f"{part} AS part", *labels.columns)
            .repartitionById(n_parts, "part")
            .sortWithinPartitions("snapshot", "customer_id")
            .mapInArrow(LabelParts(directory, tuple(runs)), WRITTEN)
            .collect()
        )
        written = written_files([tuple(row) for row in told])
        with ExitStack() as stack:
            for number, run in enumerate(runs):
                target = stack.enter_context(
                    lake.new_run(columns.CATEGORY_LABELS, settings.region, run.run_id, run.as_of)
                )
                move_parts(directory, written.get((columns.CATEGORY_LABELS, number), []), target, LABEL_SCHEMA)
