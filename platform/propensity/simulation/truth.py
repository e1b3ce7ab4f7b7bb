"""True propensities at rest: written on request, read by whoever measures a model against them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from propensity import columns
from propensity.errors import InputError, MissingSnapshotError, SettingsError
from propensity.features.vectors import lists_from_matrix
from propensity.progress import Progress, silent
from propensity.simulation.propensities import EVENT_TYPES, Window, truth_of_chunk
from propensity.simulation.service import simulated_population, start_of
from propensity.simulation.world import category_name, last_day, make_world
from propensity.warehouse.categories import load_categories
from propensity.warehouse.lake import Lake
from propensity.warehouse.regions import check_timezone, local_days_later
from propensity.warehouse.runs import fingerprint
from propensity.warehouse.schemas import INSTANT

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from propensity.settings import Settings
    from propensity.simulation.population import Population

TABLE: Final = "simulated_truth"
TRUTH_SCHEMA: Final = pa.schema(
    [
        (columns.CUSTOMER_ID, pa.string()),
        (columns.EVENT_TIMESTAMP, INSTANT),
        (columns.REGION, pa.string()),
        (columns.RUN_ID, pa.string()),
        (columns.PROPENSITIES, pa.list_(pa.float32())),
    ]
)
"""`event_timestamp` is the as_of; `propensities` in the order of category_index."""
CLASSES_SCHEMA: Final = TRUTH_SCHEMA.append(pa.field(columns.CLASS_PROPENSITIES, pa.list_(pa.float32())))
"""With more classes than two: the same column as the scores have, see `columns.CLASS_PROPENSITIES`."""


@dataclass(frozen=True)
class StoredTruth:
    """True propensities in the lake.

    Attributes:
        run_id: Names what they are made of: population, window and categories.
        directory: Holds the Parquet files.
        customers: Rows.
        mean: Of all propensities: what share of the pairs should turn out positive.
    """

    run_id: str
    directory: Path
    customers: int
    mean: float


def store_truth(settings: Settings, as_of: datetime, progress: Progress = silent) -> StoredTruth:
    """Write the true propensity of every pair for the label window that starts at `as_of` to the lake.

    Raises:
        LookupFailedError: The region holds no simulated population.
        SettingsError: The window isn't within the simulated time, labels are of events that were not simulated, or the
            region was simulated in another time zone.
        InputError: The region knows a category that was not simulated.

    Side effects: writes `lake/simulated_truth`; the same again writes nothing. Memory is that of a chunk.
    """
    check_timezone(settings)
    population = simulated_population(settings)
    run_id = _run_id(settings, as_of)
    lake = Lake(settings.lake)
    window = Window(
        start_of(settings, population), as_of, local_days_later(as_of, settings.labels.horizon_days, settings)
    )
    first, last = window.days
    if first <= 0 or last > population.days:
        raise SettingsError(
            f"The label window of {settings.labels.horizon_days} days from {as_of.isoformat()} isn't within the "
            f"simulated time, {population.start} to {last_day(population)}. Choose another --as-of."
        )
    _check_event_types(settings, population)
    world = make_world(population)
    # Of a category that nobody ever bought the platform doesn't know.
    numbers = {category_name(number): number for number in range(population.categories)}
    names = load_categories(settings).names
    if foreign := [name for name in names if name not in numbers]:
        raise InputError(
            f"Category {foreign[0]!r} of region {settings.region!r} was not simulated: nobody knows its truth. "
            "Simulate into a region of its own: --region NAME."
        )
    order = np.array([numbers[name] for name in names], dtype=np.int64)
    if not lake.has_run(TABLE, settings.region, run_id, as_of):
        with (
            lake.new_run(TABLE, settings.region, run_id, as_of) as directory,
            pq.ParquetWriter(directory / "part-0.parquet", _schema(settings), compression="zstd") as writer,
        ):
            for chunk in range(population.chunks):
                truth = truth_of_chunk(world, chunk, window, settings.labels.event_types)
                rows = _rows(truth.customer_id, truth.at_least[:, :, order])
                writer.write_table(_with_constants(rows, settings.region, run_id, as_of, _schema(settings)))
                progress("truth", chunk + 1, population.chunks)
    directory = lake.run_directory(TABLE, settings.region, run_id, as_of)
    customers, total, pairs = 0, 0.0, 0
    for batch in pq.ParquetFile(directory / "part-0.parquet").iter_batches(columns=[columns.PROPENSITIES]):
        values = batch.column(0).flatten().to_numpy()
        customers, total, pairs = (
            customers + len(batch),
            total + float(values.sum(dtype=np.float64)),
            pairs + len(values),
        )
    return StoredTruth(run_id, directory, customers, total / max(1, pairs))


def truth_id(settings: Settings, as_of: datetime) -> str | None:
    """Return the run of the truth stored for the window that starts at `as_of`, or None. Read-only."""
    lake = Lake(settings.lake)
    if not (settings.lake / TABLE / f"region={settings.region}").is_dir():
        return None
    run_id = _run_id(settings, as_of)
    return run_id if lake.has_run(TABLE, settings.region, run_id, as_of) else None


def oracle(settings: Settings, as_of: datetime, customer_id: npt.NDArray[np.object_]) -> npt.NDArray[np.float32]:
    """Return the stored true propensities of these customers: those of a class above 0. Read-only.

    Args:
        customer_id: Customers in the order wanted, e.g. `HoldoutWindow.customer_id`, (n_customers,).

    Returns:
        float32, (n_customers, n_categories), columns in the order of category_index.

    Raises:
        As `oracle_at_least`.
    """
    return oracle_at_least(settings, as_of, customer_id)[:, 0]


def oracle_at_least(
    settings: Settings, as_of: datetime, customer_id: npt.NDArray[np.object_]
) -> npt.NDArray[np.float32]:
    """Return the stored true probabilities of class k or a higher one, k = 1 .. K - 1, of these customers. Read-only.

    Args:
        customer_id: Customers in the order wanted, (n_customers,).

    Returns:
        float32, (n_customers, K - 1, n_categories), columns in the order of category_index.

    Raises:
        MissingSnapshotError: None are stored for the window.
        InputError: They lack a customer: the region holds events that were not simulated.
    """
    run_id = truth_id(settings, as_of)
    if run_id is None:
        raise MissingSnapshotError(
            f"No true propensities are stored for {as_of.isoformat()}. Store them: propensity simulate truth "
            f"--as-of {as_of.astimezone(settings.zone).date()}"
        )
    wanted = pa.array(customer_id, pa.string())
    width = settings.labels.n_classes - 1
    values = np.empty((len(wanted), width, len(load_categories(settings))), dtype=np.float32)
    found = np.zeros(len(wanted), bool)
    (file,) = Lake(settings.lake).files(TABLE, settings.region, run_id=run_id, as_of=as_of)
    lists = [columns.PROPENSITIES] + [columns.CLASS_PROPENSITIES] * (width > 1)
    for batch in pq.ParquetFile(file).iter_batches(columns=[columns.CUSTOMER_ID, *lists]):
        at = pc.index_in(wanted, batch.column(0))
        rows = np.flatnonzero(at.is_valid().to_numpy(zero_copy_only=False))
        block = np.hstack(
            [batch.column(name).flatten().to_numpy(zero_copy_only=False).reshape(len(batch), -1) for name in lists]
        )
        values[rows] = block.reshape(len(batch), *values.shape[1:])[at.drop_null().to_numpy()]
        found[rows] = True
    if not found.all():
        raise InputError(
            f"The true propensities lack customer {wanted[int(np.argmin(found))].as_py()!r}: region "
            f"{settings.region!r} holds events that were not simulated. Simulate into a region of its own."
        )
    return values


def _run_id(settings: Settings, as_of: datetime) -> str:
    names = load_categories(settings).names
    types = settings.labels.event_types
    inputs = (simulated_population(settings).name, as_of.isoformat(), settings.labels.horizon_days, names)
    # That of purchases alone keeps the name it had before there were views.
    return f"truth-{fingerprint(*inputs, *(() if types == ('purchase',) else (types,)))}"


def _check_event_types(settings: Settings, population: Population) -> None:
    """Raise SettingsError unless all event types of the labels were simulated."""
    simulated = EVENT_TYPES if population.views_per_purchase else ("purchase",)
    if unknown := [each for each in settings.labels.event_types if each not in simulated]:
        advice = (
            "Simulate views into another region: propensity simulate --views-per-purchase 1"
            if unknown[0] in EVENT_TYPES
            else f"Known: {', '.join(EVENT_TYPES)}"
        )
        raise SettingsError(
            f"labels.event_types names {unknown[0]!r}, which region {settings.region!r} has no simulated events of: "
            f"nobody knows its truth. {advice}."
        )


def _schema(settings: Settings) -> pa.Schema:
    return TRUTH_SCHEMA if settings.labels.n_classes == 2 else CLASSES_SCHEMA


def _rows(customer_id: npt.NDArray[np.str_], at_least: npt.NDArray[np.float32]) -> pa.Table:
    """Return customers and lists; `at_least` is (n_customers, K - 1, n_categories)."""
    rows = {columns.CUSTOMER_ID: pa.array(customer_id), columns.PROPENSITIES: lists_from_matrix(at_least[:, 0])}
    if at_least.shape[1] > 1:
        rows[columns.CLASS_PROPENSITIES] = lists_from_matrix(at_least[:, 1:].reshape(len(at_least), -1))
    return pa.table(rows)


def _with_constants(rows: pa.Table, region: str, run_id: str, as_of: datetime, schema: pa.Schema) -> pa.Table:
    constants = {
        columns.EVENT_TIMESTAMP: pa.scalar(as_of, INSTANT),
        columns.REGION: pa.scalar(region),
        columns.RUN_ID: pa.scalar(run_id),
    }
    for name, value in constants.items():
        rows = rows.append_column(name, pa.repeat(value, len(rows)))
    return rows.select(schema.names).cast(schema)
