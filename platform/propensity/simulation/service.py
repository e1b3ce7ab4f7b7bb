"""Bringing a simulated population into the lake, chunk after chunk, by the importer of everyone's events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow.parquet as pq

from propensity.errors import InputError, LookupFailedError, SettingsError
from propensity.progress import Progress, silent
from propensity.simulation.events import customers_of_chunk, events_of_chunk
from propensity.simulation.population import Population
from propensity.simulation.world import last_day, make_world
from propensity.warehouse.connection import lake_connection, quoted
from propensity.warehouse.customer_attributes import import_attributes
from propensity.warehouse.event_sources import FIELDS
from propensity.warehouse.importing import import_events
from propensity.warehouse.items import create_items_view
from propensity.warehouse.lake import Lake
from propensity.warehouse.regions import check_timezone, local_midnight
from propensity.warehouse.runs import list_runs
from propensity.warehouse.sources import mapped_columns, open_source, row_columns

if TYPE_CHECKING:
    from propensity.settings import Settings
    from propensity.simulation.world import World
    from propensity.warehouse.import_result import ImportResult
    from propensity.warehouse.runs import RunRecord

TABLE: Final = "simulated_population"
"""Directory of the lake that holds the parameters of a region's population."""
PART_EVENTS: Final = 2_000_000
"""Expected events of one import: what the importer checks and sorts at once, in about a KB of memory each."""


@dataclass(frozen=True)
class Simulation:
    """What a simulation did.

    Attributes:
        population: Its parameters.
        events: In the lake: purchases, views and received campaigns.
        new_events: Of those, what this call brought.
        quarantined: Rows set aside; there should be none.
    """

    population: Population
    events: int
    new_events: int
    quarantined: int


def simulate(settings: Settings, population: Population, progress: Progress = silent) -> Simulation:
    """Simulate a population and import its events and customers into the settings' region.

    Raises:
        SettingsError: The simulated time reaches into the future, or the region has another time zone.
        InputError: The region holds events of something else: its true propensities would not be those.

    Side effects: those of `import_events`, once for each PART_EVENTS expected events; keeps the parameters in the
    lake. The same population again finds its parts and imports nothing; after a kill, those that are missing.
    """
    check_timezone(settings)
    start = start_of(settings, population)
    if start + timedelta(days=population.days) > datetime.now(UTC):
        raise SettingsError(
            f"--start {population.start} and --days {population.days} reach into the future, to "
            f"{last_day(population)}: the importer takes no events from there. Give an earlier --start."
        )
    _claim_region(settings, population)
    world = make_world(population)
    lake = Lake(settings.lake)
    lake.drop_abandoned()
    held = {run.detail["source"] for run in _imports(settings)}
    parts = _parts(population)
    new = 0
    progress("Simulating", 0, population.chunks)
    for number, chunks in enumerate(parts, 1):
        source_name = f"{_source(population)} part {number} of {len(parts)}"
        if source_name not in held:
            with lake.staged() as staged:
                for chunk in chunks:
                    events = events_of_chunk(world, chunk, start)
                    pq.write_table(events, staged / f"{chunk:06d}.parquet", compression="zstd")
                    progress("Simulating", chunk + 1, population.chunks)
                imported = _import(settings, staged, source_name)
            new += 0 if imported.already_imported else imported.run.rows
    _import_customers(settings, world)
    progress("Simulating", population.chunks, population.chunks)
    runs = _imports(settings)
    aside = sum(sum(run.detail["quarantined"].values()) for run in runs)
    return Simulation(population, sum(run.rows for run in runs), new, aside)


def simulated_population(settings: Settings) -> Population:
    """Return the parameters of the region's population. Read-only.

    Raises:
        LookupFailedError: The region holds none.
    """
    found = _kept(settings)
    if found is None:
        raise LookupFailedError(
            f"Region {settings.region!r} holds no simulated population. Make one: propensity simulate --help"
        )
    return Population.from_json(found.read_text())


def start_of(settings: Settings, population: Population) -> datetime:
    """Return the instant at which the population's day 0 begins."""
    return local_midnight(population.start, settings)


def _claim_region(settings: Settings, population: Population) -> None:
    """Keep the parameters, unless the region holds something else."""
    kept = _kept(settings)
    if kept is not None and Population.from_json(kept.read_text()).name != population.name:
        raise InputError(
            f"Region {settings.region!r} holds a simulated population of other parameters ({kept}). "
            "Simulate into another one: --region NAME, or another --home."
        )
    sources = sorted({str(run.detail["source"]) for run in _imports(settings)})
    if other := [source for source in sources if not source.startswith(_source(population))]:
        raise InputError(
            f"Region {settings.region!r} holds events of {other[0]}; true propensities would not be those. "
            "Simulate into another one: --region NAME, or another --home."
        )
    if kept is None:
        with Lake(settings.lake).new_run(TABLE, settings.region, population.name) as directory:
            (directory / "population.json").write_text(population.to_json())


def _kept(settings: Settings) -> Path | None:
    found = sorted((settings.lake / TABLE / f"region={settings.region}").glob("run=*/population.json"))
    return found[0] if found else None


def _imports(settings: Settings) -> list[RunRecord]:
    return [run for run in list_runs(settings, kind="import") if run.state == "finished"]


def _source(population: Population) -> str:
    return f"simulation {population.name}"


def _parts(population: Population) -> list[range]:
    """Divide the chunks into imports."""
    chunk_events = population.chunk_customers * population.purchases_per_day * population.days
    chunk_events *= 1 + population.views_per_purchase
    step = max(1, int(PART_EVENTS / max(1.0, chunk_events)))
    return [range(first, min(first + step, population.chunks)) for first in range(0, population.chunks, step)]


def _import(settings: Settings, staged: Path, source_name: str) -> ImportResult:
    with open_source(settings, str(staged), query=None, table=None, progress=silent) as opened:
        create_items_view(settings, opened.connection)
        opened.connection.execute(
            f"CREATE TEMP VIEW source AS SELECT {row_columns(opened)}, {mapped_columns(opened, FIELDS, {})} FROM rows"
        )
        return import_events(settings, opened.connection, source_name=source_name, naive_timezone="UTC")


def _import_customers(settings: Settings, world: World) -> None:
    population = world.population
    source_name = f"{_source(population)} customers"
    if any(run.detail["source"] == source_name for run in list_runs(settings, kind="attributes")):
        return
    with Lake(settings.lake).staged() as staged, lake_connection(settings) as connection:
        for chunk in range(population.chunks):
            pq.write_table(customers_of_chunk(world, chunk), staged / f"{chunk:06d}.parquet")
        connection.execute(f"""
            CREATE TEMP VIEW attributes AS
            SELECT customer_id, attribute, value, NULL::TIMESTAMPTZ AS created_timestamp
            FROM (FROM read_parquet({quoted(str(staged / "*.parquet"))}))
            UNPIVOT (value FOR attribute IN (age_band, household_size))
        """)
        import_attributes(settings, connection, source_name=source_name)
