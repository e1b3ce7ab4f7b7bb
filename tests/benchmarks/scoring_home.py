"""A home made up for bench_scoring.py and bench_published_job.py: a snapshot of many customers, and a net of the
published system's kind.

python scoring_home.py HOME CUSTOMERS CATEGORIES [ROW_GROUP_ROWS]
"""

from __future__ import annotations

import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench_training_scale import csr, zipf

from propensity import columns
from propensity.features.dictionary import FeatureDictionary
from propensity.features.snapshot_rows import ROW_GROUP_ROWS, FeatureFile
from propensity.models.artifact import TrainingFacts, read_artifact, write_artifact
from propensity.models.calibration import Calibration
from propensity.models.encoding import Encoder
from propensity.models.model import Model
from propensity.models.registry import register_model
from propensity.settings import Settings
from propensity.warehouse.catalogue_session import catalogue_session
from propensity.warehouse.categories import add_categories
from propensity.warehouse.lake import Lake
from propensity.warehouse.migration import migrate
from propensity.warehouse.regions import ensure_region
from propensity.warehouse.runs import RunRecord, record_run
from propensity.warehouse.schemas import FEATURE_SCHEMA, POPULARITY_SCHEMA

FEATURES, NON_ZEROS, HIDDEN = 200_000, 80, (256, 128)
AS_OF = datetime(2024, 8, 1, 4, tzinfo=UTC)
SNAPSHOT, VERSION = "features-made-up", "made-up"
CHUNK = 50_000


def model(categories: int) -> Model:
    """Return an untrained feed-forward net whose propensities spread as a trained one's: 1.5 % on average."""
    rng = np.random.default_rng(1)

    def weight(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    first, second = HIDDEN
    nothing = np.zeros(0, np.float32)
    nowhere = np.full(FEATURES, -1, np.int32)
    encoder = Encoder(
        feature_column=np.arange(FEATURES, dtype=np.int32),
        column_scale=np.ones(FEATURES, np.float32),
        feature_position=nowhere,
        feature_signal=nowhere,
        feature_customer=nowhere,
        aligned_signals=(),
        signal_mean=nothing,
        signal_std=nothing,
        cross_signals=(),
        customer_signals=(),
        customer_mean=nothing,
        customer_std=nothing,
        category_index=np.arange(categories, dtype=np.int32),
        categories=tuple(f"CATEGORY {number:05d}" for number in range(categories)),
    )
    weights = {
        "deep.input_weight": (rng.standard_normal((FEATURES, first)) * 0.1).astype(np.float32),
        "deep.input_bias": np.zeros(first, np.float32),
        "deep.layers.0.weight": weight(second, first),
        "deep.layers.0.bias": np.zeros(second, np.float32),
        "head.output.weight": 3 * weight(categories, second),
        "head.output.bias": rng.normal(-1.2, 1.0, categories).astype(np.float32),
        "head.prior_scale": np.ones(1, np.float32),
    }
    return Model(
        network="feed_forward",
        n_classes=2,
        encoder=encoder,
        nets=(weights,),
        calibration=Calibration.identity(2, categories),
        popularity_default=np.full(categories, 0.01, np.float32),
        unseen_category_prior=1e-3,
    )


def dictionary() -> FeatureDictionary:
    """Return names for the artifact's table of features."""
    return FeatureDictionary(
        family=np.array(["products"] * FEATURES, object),
        signal=np.array(["made_up"] * FEATURES, object),
        key=np.array([f"key {number}" for number in range(FEATURES)], object),
        category_index=np.full(FEATURES, -1, np.int32),
    )


def write_model(settings: Settings, categories: int) -> None:
    """Write and register the net."""
    facts = TrainingFacts(
        region=settings.region,
        model_version=VERSION,
        horizon_days=30,
        event_types=("purchase",),
        training_as_ofs=(AS_OF,),
        training_window=(AS_OF, AS_OF),
        validation_as_of=AS_OF,
        data_fingerprint="made up",
        settings={},
    )
    made = model(categories)
    directory = settings.models / settings.region / VERSION
    write_artifact(directory, made, facts=facts, dictionary=dictionary(), metrics={})
    with catalogue_session(settings) as session:
        ensure_region(session, settings)
        session.flush()
        add_categories(session, settings.region, [(name, AS_OF) for name in made.encoder.categories])
    register_model(settings, read_artifact(directory), AS_OF)


def write_snapshot(settings: Settings, customers: int, categories: int, row_group_rows: int) -> None:
    """Write each family's file, all features in `products`, and record the snapshot."""
    lake, rng = Lake(settings.lake), np.random.default_rng(2)
    for family in columns.FAMILIES:
        table = columns.feature_view(family)
        with (
            lake.new_run(table, settings.region, SNAPSHOT, AS_OF) as directory,
            closing(FeatureFile(directory / "part-0.parquet", row_group_rows)) as file,
        ):
            for first in range(0, customers, CHUNK):
                n = min(CHUNK, customers - first)
                if family == "products":
                    rows = csr(zipf(rng, (n, NON_ZEROS), FEATURES), 1.0, FEATURES)
                    rows.data[:] = rng.gamma(1.0, 2.0, len(rows.data))
                    offsets, index, values = rows.indptr, rows.indices, rows.data
                else:
                    offsets, index, values = np.zeros(n + 1, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32)
                file.write(
                    pa.RecordBatch.from_arrays(
                        [
                            pa.array([f"customer {number:09d}" for number in range(first, first + n)]),
                            *constants(settings, n),
                            pa.ListArray.from_arrays(pa.array(offsets), pa.array(index.astype(np.int32))),
                            pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.astype(np.float32))),
                        ],
                        schema=FEATURE_SCHEMA,
                    )
                )
    share = np.full(categories, 0.01, np.float32)
    with lake.new_run(columns.CATEGORY_POPULARITY, settings.region, SNAPSHOT, AS_OF) as directory:
        names = pa.array([f"CATEGORY {number:05d}" for number in range(categories)])
        arrays = [pa.array(np.arange(categories, dtype=np.int32)), names, *constants(settings, categories)]
        counts = pa.array(np.round(share * customers).astype(np.int64))
        table = pa.Table.from_arrays([*arrays, counts, pa.array(share)], schema=POPULARITY_SCHEMA)
        pq.write_table(table, directory / "part-0.parquet")
    run = RunRecord(SNAPSHOT, settings.region, "features", "finished", AS_OF, customers, 0.0, AS_OF, {})
    with catalogue_session(settings) as session:
        record_run(session, run)


def constants(settings: Settings, n: int) -> list[pa.Array]:
    """Return event_timestamp, created_timestamp, region and run_id of n rows."""
    instant = pa.scalar(AS_OF, pa.timestamp("us", "UTC"))
    return [pa.repeat(instant, n), pa.repeat(instant, n), pa.repeat(settings.region, n), pa.repeat(SNAPSHOT, n)]


def main() -> None:
    """Make the home."""
    settings = Settings(home=Path(sys.argv[1]))
    customers, categories, *row_group_rows = (int(argument) for argument in sys.argv[2:])
    migrate(settings)
    write_model(settings, categories)
    write_snapshot(settings, customers, categories, *(row_group_rows or [ROW_GROUP_ROWS]))


if __name__ == "__main__":
    main()
